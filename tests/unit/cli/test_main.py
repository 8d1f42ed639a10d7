"""Wrong usage is one line with the right exit code; only a bug has a traceback."""

from __future__ import annotations

import re
import subprocess
import sys

import pytest

from reconciler import __version__
from reconciler.cli import main
from reconciler.cli.main import run
from reconciler.core.errors import ConfigurationError, DatabaseUnusable


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["--version"]) == 0
    assert capsys.readouterr().out == f"reconciler {__version__}\n"


COMMANDS = [
    *("init", "doctor", "once", "run", "explain", "stuck", "backfill"),
    *("worker", "passes", "changes", "undo", "migrate", "demo"),
]


@pytest.mark.parametrize("option", ["--help", "-h"])
@pytest.mark.parametrize("command", [[], *([command] for command in COMMANDS)], ids=str)
def test_help(command: list[str], option: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run([*command, option]) == 0

    printed = capsys.readouterr().out
    assert printed.startswith("Usage: ")
    assert set(re.findall("<.*?>", printed)) <= {"<str>"}, (
        "metavars say what a value is for, not its type"
    )


def test_the_help_lists_commands_as_a_newcomer_needs_them(
    capsys: pytest.CaptureFixture[str],
) -> None:
    run(["--help"])

    _, _, listed = capsys.readouterr().out.partition("Commands:\n")
    block, _, more = listed.partition("\n\n")
    assert [line.split()[0] for line in block.splitlines()] == COMMANDS
    assert "..." not in block, "each description fits on its line"
    for text in ("Examples:", "DATABASE_URL", "TEMPORAL_ADDRESS", "Exit codes:", "docs/"):
        assert text in more


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        ([], f"name a command: {', '.join(COMMANDS)}; see reconciler --help"),
        (["onec"], "No such command 'onec'. Did you mean 'once'?…; see reconciler --help"),
        (["--json", "once"], "No such option…--version…; see reconciler --help"),
        (["once", "--dryrun"], "No such option…--dry-run…; see reconciler once --help"),
        (["explain"], "Missing argument 'WORKFLOW_ID'; see reconciler explain --help"),
        (["once", "extra"], "Got unexpected extra argument…; see reconciler once --help"),
        (["--config", "", "once"], "--config is empty: name a file"),
        (["changes", "--workflow-id", "\udcff"], "--workflow-id is not UTF-8"),
    ],
    ids=lambda value: ascii(" ".join(value)) if isinstance(value, list) else "",
)
def test_wrong_usage_is_one_line_that_names_the_help_to_read(
    arguments: list[str], text: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(arguments) == 2

    printed = capsys.readouterr()
    assert printed.out == ""
    assert printed.err.count("\n") == 1
    # Click's wording depends on its version.
    assert re.match(
        ".*".join(re.escape(each) for each in f"reconciler: {text}".split("…")), printed.err
    )


@pytest.mark.parametrize(
    ("error", "code", "line"),
    [
        (ConfigurationError("X is not set"), 2, "reconciler: X is not set\n"),
        (DatabaseUnusable("no such\ntable"), 4, "reconciler: no such table\n"),
        (KeyboardInterrupt(), 130, "reconciler: interrupted\n"),
    ],
)
def test_an_error_is_one_line(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    error: BaseException,
    code: int,
    line: str,
) -> None:
    def fail(*_: object) -> None:
        raise error

    monkeypatch.setattr(main, "load_each", fail)

    assert run(["once"]) == code
    printed = capsys.readouterr()
    assert printed.out == ""
    assert printed.err.endswith(line)
    assert "Traceback" not in printed.err


def test_a_bug_has_a_traceback(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(*_: object) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(main, "load_each", fail)

    assert run(["once"]) == 1
    printed = capsys.readouterr().err
    assert "ZeroDivisionError" in printed
    assert "this is a bug" in printed


@pytest.mark.parametrize(
    ("module", "unwanted"),
    [
        pytest.param("reconciler", ("sqlalchemy", "temporalio", "pydantic"), id="the package"),
        pytest.param(
            "reconciler.temporal.failures.text", ("sqlalchemy", "asyncpg"), id="failure texts"
        ),
        pytest.param(
            "reconciler.passes.reconcile", ("sqlalchemy", "temporalio.client"), id="the pass"
        ),
        pytest.param("reconciler.cli.main", ("sqlalchemy", "temporalio", "pydantic"), id="help"),
        pytest.param(
            "reconciler.daemon.process",
            ("alembic", "mako", "httpx", "regex", "typer", "temporalio.worker", "reconciler.plan"),
            id="the loop",
        ),
    ],
)
def test_imports_stay_light(module: str, unwanted: tuple[str, ...]) -> None:
    script = f"import sys, {module}; print(*[name for name in {unwanted} if name in sys.modules])"

    loaded = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )

    assert loaded.stdout.strip() == ""
