"""A command about several targets: its headings, its exit code, its JSON."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest
import structlog

from reconciler.cli.base import load_each, print_error
from reconciler.cli.each_target import Each
from reconciler.cli.main import run
from reconciler.core.errors import ConfigurationError, DatabaseUnusable
from reconciler.host.signals import signals
from reconciler.host.streams import StdoutLost
from reconciler.settings.model import Settings

#: What a command does for each target: an exit code, or an error.
Ends = Mapping[str, int | BaseException]


@pytest.fixture(autouse=True)
def two_targets(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "reconciler.toml").write_text(
        'database_url = "postgresql://app@db/app"\n'
        '[targets.orders]\ntable = "orders"\n[targets.exports]\ntable = "exports"\n'
    )


def each(named: str | None = None, *, as_json: bool = False, works: bool = False) -> Each:
    return Each(targets=load_each(named), named=named, as_json=as_json, works=works)


def ending(ends: Ends, *, as_json: bool = False) -> Callable[[Settings], int]:
    """A command that prints the table, unless it fails."""

    def command(settings: Settings) -> int:
        end = ends.get(settings.target, 0)
        if isinstance(end, BaseException):
            raise end
        text = json.dumps({"table": settings.table}) if as_json else settings.table
        sys.stdout.write(f"{text}\n")
        return end

    return command


def test_text_is_under_headings(capsys: pytest.CaptureFixture[str]) -> None:
    assert each().run(ending({})) == 0

    assert capsys.readouterr().out == "orders:\norders\n\nexports:\nexports\n"


def test_a_target_that_is_named_prints_as_if_it_were_the_only_one(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert each("exports", as_json=True).run(ending({}, as_json=True)) == 0

    assert capsys.readouterr().out == '{"table": "exports"}\n'


def test_json_is_one_object_even_of_one_target(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "reconciler.toml").write_text(
        'database_url = "postgresql://app@db/app"\n[targets.orders]\ntable = "orders"\n'
    )

    assert each(as_json=True).run(ending({}, as_json=True)) == 0

    assert capsys.readouterr().out == (
        '{"targets": {"orders": {"table": "orders"}}, "outcome": "ok"}\n'
    )


@pytest.mark.parametrize(
    ("one", "other", "code"),
    [(0, 3, 3), (3, 4, 4), (4, 2, 2), (2, 1, 1), (0, 0, 0)],
)
def test_the_worst_exit_code_is_that_of_the_command(one: int, other: int, code: int) -> None:
    assert each().run(ending({"orders": one, "exports": other})) == code
    assert each().run(ending({"orders": other, "exports": one})) == code


@pytest.mark.parametrize(
    ("error", "code", "line"),
    [
        (ConfigurationError("X is not set"), 2, "reconciler: orders: X is not set\n"),
        (DatabaseUnusable("no answer"), 4, "reconciler: orders: no answer\n"),
        (ZeroDivisionError("by zero"), 1, "reconciler: orders: this is a bug; please report"),
    ],
    ids=lambda value: type(value).__name__,
)
def test_the_next_target_has_its_turn_after_a_failure(
    error: Exception, code: int, line: str, capsys: pytest.CaptureFixture[str]
) -> None:
    ends: Ends = {"orders": error}

    assert each().run(ending(ends)) == code
    printed = capsys.readouterr()
    assert line in printed.err
    assert printed.out == "orders:\n\nexports:\nexports\n"

    assert each(as_json=True).run(ending(ends, as_json=True)) == code
    assert json.loads(capsys.readouterr().out) == {
        "targets": {
            "orders": {"outcome": "aborted", "error": str(error)},
            "exports": {"table": "exports"},
        },
        "outcome": "aborted",
    }


def test_what_is_about_all_targets_comes_last(capsys: pytest.CaptureFixture[str]) -> None:
    def last() -> tuple[int, Mapping[str, object]]:
        return 3, {"findings": []}

    assert each(as_json=True).run(ending({}, as_json=True), last) == 3
    assert capsys.readouterr().out.endswith('}, "findings": [], "outcome": "unresolved"}\n')
    assert each().run(ending({"orders": 130}), last) == 130
    assert each("orders").run(ending({}), last) == 0


@pytest.mark.parametrize("error", [KeyboardInterrupt(), asyncio.CancelledError()], ids=repr)
def test_an_interruption_ends_all(error: BaseException, capsys: pytest.CaptureFixture[str]) -> None:
    assert each(as_json=True).run(ending({"orders": error}, as_json=True)) == 130

    assert capsys.readouterr().out == '{"targets": {}, "outcome": "aborted"}\n'


def test_a_signal_ends_all_though_the_command_has_ended_well(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def command(settings: Settings) -> int:
        monkeypatch.setattr(signals, "asked", 1)
        sys.stdout.write(f"{settings.table}\n")
        return 0

    assert each().run(command) == 130
    assert capsys.readouterr().out == "orders:\norders\n"


def test_an_error_amid_an_object_ends_all(capsys: pytest.CaptureFixture[str]) -> None:
    def command(_: Settings) -> int:
        sys.stdout.write('{"rows": [')
        raise DatabaseUnusable("gone")

    with pytest.raises(DatabaseUnusable):
        each(as_json=True).run(command)
    assert capsys.readouterr().out == '{"targets": {"orders": {"rows": ['


@pytest.mark.parametrize("works", [True, False])
def test_lost_output_ends_only_commands_that_do_nothing_else(works: bool) -> None:
    had = []

    def command(settings: Settings) -> int:
        had.append(settings.target)
        raise StdoutLost(28, "No space left on device")

    with pytest.raises(StdoutLost):
        each(works=works).run(command)
    assert had == ["orders", "exports"][: 1 + works]


def test_lines_on_stderr_name_the_target(capsys: pytest.CaptureFixture[str]) -> None:
    def command(_: Settings) -> int:
        async def work() -> None:
            print_error("odd")
            structlog.get_logger().info("finished")

        signals.run(work)
        return 0

    each().run(command)

    lines = capsys.readouterr().err.splitlines()
    assert lines[::2] == ["reconciler: orders: odd", "reconciler: exports: odd"]
    assert lines[1].endswith("target=orders")
    assert lines[3].endswith("target=exports")
    print_error("odd")
    assert capsys.readouterr().err == "reconciler: odd\n", "nor a line after them"


COMMANDS = [
    *(["once"], ["doctor"], ["explain", "wf"], ["stuck"], ["backfill"]),
    *(["passes"], ["changes"], ["undo", "6a24"]),
]


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_a_target_that_does_not_exist_is_refused(
    command: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert run([*command, "--target", "order"]) == 2

    printed = capsys.readouterr()
    assert printed.out == ""
    assert printed.err == (
        "reconciler: target order: reconciler.toml has no such target: it has orders, exports\n"
    )


def test_a_target_where_there_are_none_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "reconciler.toml").write_text("")

    assert run(["once", "--target", "orders"]) == 2

    assert capsys.readouterr().err == (
        "reconciler: target orders: reconciler.toml has no such target: "
        "it has no [targets.NAME] section\n"
    )
