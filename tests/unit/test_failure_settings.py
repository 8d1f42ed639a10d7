"""What is cut out of failures: the settings alone."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from reconciler.errors import ConfigurationError
from reconciler.settings.load import load_settings
from reconciler.settings.model import Settings, TableSettings


@pytest.fixture(autouse=True)
def clean(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No settings but the test's own."""
    for name in os.environ:
        if name.upper().startswith("RECONCILER_"):
            monkeypatch.delenv(name)
    monkeypatch.setenv("DATABASE_URL", "postgresql://app@db/app")
    monkeypatch.chdir(tmp_path)


def load(monkeypatch: pytest.MonkeyPatch, **variables: str) -> Settings:
    for name, value in variables.items():
        monkeypatch.setenv(f"RECONCILER_{name}", value)
    return load_settings(Settings)


def refusal(monkeypatch: pytest.MonkeyPatch, **variables: str) -> str:
    with pytest.raises(ConfigurationError) as refused:
        load(monkeypatch, **variables)
    text = str(refused.value)
    assert "\n" not in text
    return text


@pytest.mark.parametrize(
    ("value", "expressions"),
    [
        pytest.param(r"\w+@\w+", [r"\w+@\w+"], id="one expression as it is"),
        pytest.param("[abc]+", ["[abc]+"], id="one that begins like JSON"),
        pytest.param("[12]", ["[12]"], id="one that is JSON, but not of strings"),
        pytest.param(json.dumps([r"\d{4}", "x,y"]), [r"\d{4}", "x,y"], id="a JSON array"),
        pytest.param("[]", [], id="an empty one"),
    ],
)
def test_expressions_from_the_environment(
    monkeypatch: pytest.MonkeyPatch, value: str, expressions: list[str]
) -> None:
    found = load(monkeypatch, REDACT=value).redaction().patterns

    assert [pattern.pattern for pattern in found] == expressions


@pytest.mark.parametrize(
    ("toml", "expressions"),
    [("redact = 'a+'", ["a+"]), (r"redact = ['\d{4}', 'a,b']", [r"\d{4}", "a,b"])],
)
def test_expressions_from_a_file(toml: str, expressions: list[str]) -> None:
    Path("reconciler.toml").write_text(toml)

    assert list(load_settings(TableSettings).redact) == expressions


@pytest.mark.parametrize(
    ("value", "told"),
    [
        pytest.param("(", "'(' is no regular expression: missing ), ", id="does not compile"),
        pytest.param('["a", "b{2,1}"]', "'b{2,1}' is no regular expression: ", id="one of two"),
        pytest.param("x*", "'x*' matches the empty string", id="matches everywhere"),
        pytest.param("", "'' matches the empty string", id="nothing"),
    ],
)
def test_an_expression_that_cannot_be_meant(
    monkeypatch: pytest.MonkeyPatch, value: str, told: str
) -> None:
    assert refusal(monkeypatch, REDACT=value).startswith(f"RECONCILER_REDACT: {told}")


def test_a_list_of_something_else() -> None:
    Path("reconciler.toml").write_text("redact = [1]")

    with pytest.raises(ConfigurationError, match="RECONCILER_REDACT: must be a regular expression"):
        load_settings(TableSettings)
