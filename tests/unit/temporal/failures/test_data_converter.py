"""Loading a data converter by its import string; errors are one line."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from temporalio.converter import DataConverter

from reconciler.core.errors import ConfigurationError
from reconciler.temporal.failures.data_converter import load_converter

SECRET = "s3cret"
PREFIX = "RECONCILER_DATA_CONVERTER: "


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The current folder; its modules are unloaded after the test."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    before = set(sys.modules)
    yield tmp_path
    for name in set(sys.modules) - before:
        if name.startswith("team_"):
            del sys.modules[name]


@pytest.mark.parametrize(
    ("source", "attribute"),
    [
        pytest.param("converter = DataConverter()", "converter", id="an instance"),
        pytest.param("def make(): return DataConverter()", "make", id="a function"),
        pytest.param("make = lambda key='x': DataConverter()", "make", id="with defaults"),
        pytest.param("class Own(DataConverter): pass", "Own", id="a class"),
        pytest.param("class A:\n  b = DataConverter()", "A.b", id="an attribute of a class"),
    ],
)
def test_a_module_of_the_current_folder(folder: Path, source: str, attribute: str) -> None:
    (folder / "team_codec.py").write_text(
        f"from temporalio.converter import DataConverter\n{source}"
    )

    assert isinstance(load_converter(f"team_codec:{attribute}"), DataConverter)


def test_installed_modules_come_before_the_current_folder(folder: Path) -> None:
    load_converter("temporalio.converter:DataConverter")
    load_converter("temporalio.converter:DataConverter")

    assert sys.path[-1] == str(folder)
    assert sys.path.count(str(folder)) == 1


@pytest.mark.parametrize(
    ("source", "name", "error"),
    [
        pytest.param(None, "team_gone:x", "there is no module team_gone: is it", id="no module"),
        pytest.param("import team_gone", "team_codec:x", "there is no module team_gone", id="its"),
        pytest.param(
            f"raise ValueError('{SECRET}')",
            "team_codec:x",
            "importing team_codec failed: ValueError in {folder}/team_codec.py, line 1",
            id="a module that fails",
        ),
        pytest.param(
            f"import os\nos.environ['{SECRET}']", "team_codec:x", "team_codec.py, line 2", id="key"
        ),
        pytest.param("import sys; sys.exit()", "team_codec:x", "SystemExit in ", id="exits"),
        pytest.param(
            "class Odd(BaseException): ...\nraise Odd", "team_codec:x", "Odd in ", id="odd"
        ),
        pytest.param("x = (", "team_codec:x", "SyntaxError in {folder}/team_codec.py", id="syntax"),
        pytest.param("", "team_codec:x", "team_codec has no x", id="no attribute"),
        pytest.param("x = None", "team_codec:x.y", "team_codec has no x.y", id="no nested one"),
        pytest.param(f"x = '{SECRET}'", "team_codec:x", "x is str, not a temporalio", id="a text"),
        pytest.param(
            "x = dict", "team_codec:x", "x() is dict, not a temporalio", id="makes a dict"
        ),
        pytest.param("def x(key): ...", "team_codec:x", "x needs arguments, and gets", id="needs"),
        pytest.param("async def x(): ...", "team_codec:x", "x() is coroutine, not", id="async"),
        pytest.param(
            f"def x(): raise KeyError('{SECRET}')",
            "team_codec:x",
            "calling x() failed: KeyError in {folder}/team_codec.py, line 1",
            id="fails",
        ),
    ],
)
def test_an_invalid_data_converter_is_refused_without_quoting_the_teams_code(
    folder: Path, source: str | None, name: str, error: str
) -> None:
    if source is not None:
        (folder / "team_codec.py").write_text(source)

    with pytest.raises(ConfigurationError) as refused:
        load_converter(name)

    line = str(refused.value)
    assert line.startswith(PREFIX)
    assert error.format(folder=folder) in line
    assert line.endswith(f"(it is '{name}')")
    assert SECRET not in line
