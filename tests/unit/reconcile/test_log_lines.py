"""What passes say in the log."""

from __future__ import annotations

import pytest
from structlog.testing import capture_logs

from reconciler.core.model import CloseStatus, Missing, Observation, Open, Unknown
from reconciler.pass_log import PassLog
from tests.factories import closed
from tests.fakes import MemoryStore, ScriptedProbe
from tests.unit.reconcile.bench import reconcile, rows, scripted


@pytest.mark.parametrize(
    ("observation", "dry_run", "level"),
    [(closed(), False, "info"), (closed(), True, "debug"), (Open(), False, "debug")],
    ids=["changed", "dry run", "quiet"],
)
async def test_a_pass_that_changed_something_is_worth_a_line(
    observation: Observation, dry_run: bool, level: str
) -> None:
    with capture_logs() as lines:
        await reconcile(MemoryStore(rows(2)), scripted(observation), dry_run=dry_run)

    (line,) = [line for line in lines if line["event"] == "pass"]
    assert line["log_level"] == level
    assert line["scanned"] == 2


async def test_what_is_wrong_is_told_once_and_again_when_it_changes() -> None:
    pass_log, warned = PassLog(), []
    for cause in ("busy", "busy", "no such run", None, "busy"):
        answer = Open() if cause is None else Unknown(cause)
        with capture_logs() as lines:
            await reconcile(MemoryStore(rows(1)), ScriptedProbe({}, answer), pass_log=pass_log)
        warned.append([line["detail"] for line in lines if line["log_level"] == "warning"])

    assert warned == [["busy"], [], ["no such run"], [], ["busy"]]


async def test_a_row_that_is_refused_and_most_that_are_missing_are_told_once() -> None:
    pass_log, warned = PassLog(), 0
    for _ in range(3):
        store = MemoryStore(rows(30))
        store.refused = {1: "trigger says no"}
        with capture_logs() as lines:
            await reconcile(store, scripted(Missing(), wf_1=closed()), pass_log=pass_log)
        warned += sum(line["log_level"] == "warning" for line in lines)

    assert warned == 2


async def test_a_row_that_is_finished_has_a_line_that_explains_it() -> None:
    with capture_logs() as lines:
        report = await reconcile(MemoryStore(rows(1)), scripted(closed(CloseStatus.FAILED)))

    (line,) = [line for line in lines if line["event"] == "finished"]
    assert line == {
        "event": "finished",
        "log_level": "info",
        "workflow_id": "wf-1",
        "run_id": "run-1",
        "old": "running",
        "new": "failed",
        "why": "boom",
        "closed": "2026-11-23T11:59:58.123456+00:00",
        "pass_id": report.pass_id,
    }
