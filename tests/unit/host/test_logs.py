from __future__ import annotations

import io
import json
import logging
import sys

import pytest
import structlog

from reconciler.host.logs import configure_logs
from tests.support.hostile import HOSTILE, unseen


def test_lines_of_libraries_are_json_on_stderr_too(
    capsys: pytest.CaptureFixture[str],
) -> None:
    configure_logs("info", as_json=True)

    structlog.get_logger("ours").info("finished", workflow_id="wf")
    logging.getLogger("theirs").warning("watch %s", "out")

    printed = capsys.readouterr()
    ours, theirs = (json.loads(line) for line in printed.err.splitlines())
    assert printed.out == ""
    assert (ours["event"], ours["workflow_id"], ours["level"]) == ("finished", "wf", "info")
    assert (theirs["event"], theirs["level"]) == ("watch out", "warning")
    assert ours["timestamp"].endswith("Z")


@pytest.mark.parametrize("as_json", [True, False])
def test_the_level_is_kept(as_json: bool, capsys: pytest.CaptureFixture[str]) -> None:
    configure_logs("warning", as_json=as_json)

    structlog.get_logger("ours").info("quiet")
    logging.getLogger("theirs").info("quiet")
    structlog.get_logger("ours").warning("loud")

    printed = capsys.readouterr().err
    assert "loud" in printed
    assert "quiet" not in printed


@pytest.mark.parametrize("as_json", [True, False])
def test_a_traceback_does_not_show_variables(
    as_json: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    configure_logs("info", as_json=as_json)

    def connect(password: str) -> None:
        raise ValueError

    try:
        connect("s3" + "cret")
    except ValueError:
        structlog.get_logger("ours").exception("failed")

    printed = capsys.readouterr().err
    assert "ValueError" in printed
    assert "s3cret" not in printed


class Unshowable:
    def __repr__(self) -> str:
        raise ZeroDivisionError


class Full(io.StringIO):
    def write(self, text: str) -> int:
        raise OSError(28, "No space left on device")

    def flush(self) -> None:
        raise OSError(28, "No space left on device")


class Ascii(io.StringIO):
    def write(self, text: str) -> int:
        return super().write(text.encode("ascii").decode())


@pytest.mark.parametrize("as_json", [True, False])
@pytest.mark.parametrize("where", ["value", "words", "nested", "key", "event"])
def test_each_event_is_one_printable_line(
    as_json: bool, where: str, capsys: pytest.CaptureFixture[str]
) -> None:
    configure_logs("info", as_json=as_json)
    event, given = "finished", {"workflow_id": HOSTILE.replace(" ", "")}
    if where == "words":
        given = {"why": HOSTILE}
    elif where == "nested":
        given = {"written": {HOSTILE: [HOSTILE]}}  # type: ignore[dict-item]
    elif where == "key":
        given = {HOSTILE: "value"}
    elif where == "event":
        event = HOSTILE

    structlog.get_logger("ours").info(event, **given)
    logging.getLogger("theirs").warning("theirs: %s", HOSTILE)

    printed = capsys.readouterr().err
    assert printed.count("\n") == 2
    assert printed.count("FORGED") == (3 if where in ("nested", "event") else 2), "none was dropped"
    assert unseen(printed) == set()
    if not as_json:
        assert "\\x1b[2J" in printed
        assert "\\\\x1b" not in printed, "escaped once"


def test_an_error_cannot_forge_a_line(capsys: pytest.CaptureFixture[str]) -> None:
    configure_logs("info", as_json=False)

    for logger in (structlog.get_logger("ours"), logging.getLogger("theirs")):
        try:
            raise ValueError(HOSTILE)  # noqa: TRY301 - logged where it is raised
        except ValueError:
            logger.exception("failed")

    printed = capsys.readouterr().err
    assert unseen(printed) == set()
    ours = [line for line in printed.splitlines() if not line.startswith("    ")]
    assert [line.rpartition("] ")[2] for line in ours] == ["failed", "failed"]
    assert "    ValueError: a\\x1b[2J" in printed


@pytest.mark.parametrize("as_json", [True, False])
@pytest.mark.parametrize("stderr", [Full(), Ascii(), None], ids=["full", "ascii", "none"])
def test_a_line_that_cannot_be_written_is_dropped(
    as_json: bool, stderr: io.StringIO | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "stderr", stderr)
    configure_logs("info", as_json=as_json)

    structlog.get_logger("ours").info("größer", workflow_id="wf")
    logging.getLogger("theirs").warning("größer")


@pytest.mark.parametrize("as_json", [True, False])
def test_a_value_whose_repr_raises_is_reported(
    as_json: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    configure_logs("info", as_json=as_json)

    structlog.get_logger("ours").info("finished", workflow_id=Unshowable())

    printed = capsys.readouterr().err
    assert "a log line could not be made" in printed
    assert "ZeroDivisionError" in printed
