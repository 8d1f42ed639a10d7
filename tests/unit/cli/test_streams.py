"""Commands whose stdout or stderr cannot be written."""

from __future__ import annotations

import io
import sys

import pytest

from reconciler.cli import main
from reconciler.cli.base import ABORTED, conclude, print_error
from reconciler.cli.main import run
from reconciler.core.report.pass_report import PassReport
from reconciler.core.report.request import PassRequest
from reconciler.host.signals import INTERRUPTED, signals
from reconciler.host.streams import StdoutLost
from reconciler.settings.model import Settings
from tests.support.factories import NOW
from tests.support.hostile import HOSTILE, unseen

LOST = StdoutLost(28, "No space left on device")
SETTINGS = Settings(database_url="postgresql://db/app")


def lose() -> None:
    raise LOST


class Lost(io.StringIO):
    def flush(self) -> None:
        raise LOST


def test_an_error_is_one_line_without_control_characters(
    capsys: pytest.CaptureFixture[str],
) -> None:
    print_error(HOSTILE)

    printed = capsys.readouterr().err
    assert printed.startswith("reconciler: a\\x1b[2J")
    assert unseen(printed) == set()
    assert printed.count("\n") == 1


def test_a_traceback_has_no_control_characters(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(*_: object) -> None:
        raise ValueError(HOSTILE)

    monkeypatch.setattr(main, "load_each", fail)

    assert run(["once"]) == 1
    printed = capsys.readouterr().err
    assert unseen(printed) == set()
    assert "ValueError: a\\x1b[2J" in printed


@pytest.fixture
def aborted() -> PassReport:
    report = PassReport("id", PassRequest("once"), started_at=NOW)
    report.error = "Temporal is unreachable"
    return report


def test_the_error_of_a_pass_is_printed_though_its_report_is_lost(
    aborted: PassReport, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(StdoutLost):
        conclude(aborted, SETTINGS, lose, as_json=False)

    assert capsys.readouterr().err == "reconciler: Temporal is unreachable\n"


def test_the_error_of_a_pass_is_not_printed_after_a_signal(
    aborted: PassReport, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(signals, "asked", 1)

    assert conclude(aborted, SETTINGS, lambda: None, as_json=False) == INTERRUPTED
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize(("code", "left_with"), [(0, ABORTED), (3, ABORTED), (130, INTERRUPTED)])
def test_output_that_is_lost_when_it_is_flushed(
    code: int,
    left_with: int,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(main, "cli", lambda **_: code)
    monkeypatch.setattr(sys, "stdout", Lost())

    assert run(["once"]) == left_with
    assert "cannot write to stdout (No space left on device)" in capsys.readouterr().err


@pytest.mark.parametrize(("asked", "left_with"), [(0, ABORTED), (1, INTERRUPTED)])
def test_output_that_is_lost_while_it_is_printed(
    asked: int, left_with: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(signals, "asked", asked)
    monkeypatch.setattr(main, "cli", lambda **_: lose())

    assert run(["once"]) == left_with


def test_without_any_stream(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdout", None)
    monkeypatch.setattr(sys, "stderr", None)

    assert run(["nothing"]) == 2
