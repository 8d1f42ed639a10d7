from __future__ import annotations

import json
import logging

import pytest
import structlog

from reconciler.logs import configure_logs

pytestmark = pytest.mark.usefixtures("restored_logs")


def test_json_lines_go_to_stderr_ours_and_those_of_libraries(
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
