"""The log lines of passes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import pytest
from structlog.testing import capture_logs
from structlog.typing import EventDict

from reconciler.core.errors import TemporalUnusable
from reconciler.core.model import (
    CloseStatus,
    Leave,
    LeaveReason,
    Missing,
    Observation,
    Open,
    RunRow,
    Unknown,
)
from reconciler.core.report.pass_report import PassOutcome, PassReport
from reconciler.core.report.request import PassRequest
from reconciler.core.report.sweep import Round
from reconciler.host.causes import MAX_LINES
from reconciler.passes.log import PassLog
from tests.support.factories import NOW, closed
from tests.support.fakes import MemoryStore, ScriptedProbe
from tests.support.passes.bench import reconcile, rows, scripted
from tests.support.passes.sweeping import screened_pass


@pytest.mark.parametrize(
    ("observation", "dry_run", "level"),
    [(closed(), False, "info"), (closed(), True, "debug"), (Open(), False, "debug")],
    ids=["changed", "dry run", "quiet"],
)
async def test_a_pass_that_changed_something_has_a_log_line(
    observation: Observation, dry_run: bool, level: str
) -> None:
    with capture_logs() as lines:
        await reconcile(MemoryStore(rows(2)), scripted(observation), dry_run=dry_run)

    (line,) = [line for line in lines if line["event"] == "pass_finished"]
    assert line["log_level"] == level
    assert line["scanned"] == 2


async def test_the_counts_are_not_logged_where_the_command_prints_them() -> None:
    with capture_logs() as lines:
        store, log = MemoryStore(rows(2)), PassLog(each_row=False)
        await reconcile(store, scripted(closed()), pass_log=log)

    assert {line["log_level"] for line in lines} == {"debug"}


async def test_a_cause_is_logged_once_and_again_when_it_changes() -> None:
    pass_log, warned = PassLog(), []
    for cause in ("busy", "busy", "no such run", None, "busy"):
        answer = Open() if cause is None else Unknown(cause)
        with capture_logs() as lines:
            await reconcile(MemoryStore(rows(1)), ScriptedProbe({}, answer), pass_log=pass_log)
        warned.append([line["detail"] for line in lines if line["log_level"] == "warning"])

    assert warned == [["busy"], [], ["no such run"], [], ["busy"]]


async def test_a_row_that_cannot_be_read_is_logged_with_its_key() -> None:
    row = RunRow(17, "", None, None, unreadable="missing chunk")

    with capture_logs() as lines:
        await reconcile(MemoryStore([row]), ScriptedProbe({}, Unknown("missing chunk")))

    (line,) = [line for line in lines if line["event"] == "row_left"]
    assert (line["row_id"], line["detail"]) == ("17", "missing chunk")


async def test_a_refused_row_and_most_rows_missing_are_logged_once() -> None:
    pass_log, warned = PassLog(), 0
    for _ in range(3):
        store = MemoryStore(rows(30))
        store.refused = {1: "trigger says no"}
        with capture_logs() as lines:
            await reconcile(store, scripted(Missing(), wf_1=closed()), pass_log=pass_log)
        warned += sum(line["log_level"] == "warning" for line in lines)

    assert warned == 2


async def test_short_passes_log_a_cause_once_in_a_while() -> None:
    """Each sees other rows: in the next pass the cause is gone, and later it is back."""
    now = 0.0
    pass_log = PassLog(round_seconds=600, clock=lambda: now)
    with capture_logs() as lines:
        for minute in range(20):
            now = 60.0 * minute
            answer = Unknown("no namespace") if minute % 2 else closed()
            await reconcile(MemoryStore(rows(1)), scripted(answer), pass_log=pass_log)

    assert warnings(lines) == {"row_left": 1, "more_rows_left": 1}


def warnings(lines: Sequence[EventDict]) -> Counter[str]:
    return Counter(line["event"] for line in lines if line["log_level"] in ("warning", "error"))


MORE = "more_rows_left"


@pytest.mark.parametrize("count", [MAX_LINES, 1_000, 11_000])
async def test_however_many_rows_are_unknown_a_pass_logs_a_few_and_the_next_none(
    count: int,
) -> None:
    pass_log, logged = PassLog(), []
    for _ in range(3):
        with capture_logs() as lines:
            await reconcile(
                MemoryStore(rows(count)), scripted(Unknown("no namespace")), pass_log=pass_log
            )
        logged.append(warnings(lines))
        more = [(line["rows"], line["why"]) for line in lines if line["event"] == MORE]
        assert more in ([], [(count - MAX_LINES, f"no namespace ({count - MAX_LINES})")])

    summary = {MORE: 1} if count > MAX_LINES else {}
    assert logged == [{"row_left": MAX_LINES, **summary}, {}, {}]


async def test_the_stretches_of_a_round_count_as_one_pass() -> None:
    pass_log, logged = PassLog(), []
    with capture_logs() as lines:
        for _ in range(2):
            for stretch, ended in enumerate([False, False, True]):
                report = PassReport.begin(PassRequest("run", found_by="sweep"), NOW)
                for number in range(10):
                    row = RunRow(100 * stretch + number, f"wf-{number}", None, None)
                    pass_log.left(Leave(row, LeaveReason.UNKNOWN, "no namespace"))
                report.done.scanned = 10
                report.round = Round(
                    30, 10 * stretch + 10, 600, stretch == 0, ended, stretch_only=True
                )
                pass_log.end(report)
            logged.append(warnings(lines))
            lines.clear()

    assert logged == [{"row_left": MAX_LINES, MORE: 1}, {}]


async def test_however_many_rows_are_refused_a_pass_logs_a_few_and_the_next_none() -> None:
    pass_log, logged = PassLog(), []
    for _ in range(2):
        store = MemoryStore(rows(2_000))
        store.refused = dict.fromkeys(range(1, 2001), "trigger says no")
        with capture_logs() as lines:
            await reconcile(store, scripted(closed()), pass_log=pass_log)
        logged.append(warnings(lines))

    assert logged == [{"row_refused": MAX_LINES, MORE: 1}, {}]


class Buggy(ScriptedProbe):
    async def observe(self, asked_row: RunRow) -> Observation:
        raise ZeroDivisionError(asked_row.workflow_id)

    async def screen(self, rows: Sequence[RunRow], saving: float = 1.0) -> Sequence[bool | None]:
        raise ZeroDivisionError


async def test_a_bug_that_every_row_hits_has_one_traceback() -> None:
    pass_log, logged = PassLog(), []
    for _ in range(2):
        with capture_logs() as lines:
            await screened_pass(
                MemoryStore(rows(2_000)), Buggy({}), pass_log=pass_log, batch_size=20
            )
        logged.append(warnings(lines))
        assert all(line["exc_info"] for line in lines if line["log_level"] == "error")

    assert logged[0]["row_crashed"] == 1
    assert logged[0]["screening_crashed"] == 1
    assert sum(logged[0].values()) < 40
    assert logged[1] == {}


async def test_a_bug_that_comes_back_has_a_traceback_again() -> None:
    pass_log, logged = PassLog(), []
    for probe in (Buggy({}), scripted(closed()), Buggy({})):
        with capture_logs() as lines:
            await reconcile(MemoryStore(rows(1)), probe, pass_log=pass_log)
        logged.append(warnings(lines)["row_crashed"])

    assert logged == [1, 0, 1]


async def test_a_pass_that_looked_at_no_row_does_not_reset_the_causes() -> None:
    class Unreachable(ScriptedProbe):
        async def observe(self, asked_row: RunRow) -> Observation:
            raise TemporalUnusable("unreachable")

    pass_log = PassLog()
    await reconcile(MemoryStore(rows(50)), scripted(Unknown("busy")), pass_log=pass_log)
    with capture_logs() as lines:
        report = await reconcile(MemoryStore(rows(50)), Unreachable({}), pass_log=pass_log)
        assert report.outcome is PassOutcome.ABORTED
        await reconcile(MemoryStore(rows(50)), scripted(Unknown("busy")), pass_log=pass_log)

    assert warnings(lines) == {}


async def test_a_finished_row_has_a_log_line_that_explains_it() -> None:
    with capture_logs() as lines:
        report = await reconcile(MemoryStore(rows(1)), scripted(closed(CloseStatus.FAILED)))

    (line,) = [line for line in lines if line["event"] == "row_finished"]
    assert line == {
        "event": "row_finished",
        "log_level": "info",
        "workflow_id": "wf-1",
        "run_id": "run-1",
        "old": "running",
        "new": "failed",
        "why": "boom",
        "closed": "2026-11-23T11:59:58.123456+00:00",
        "pass_id": report.pass_id,
    }
