"""What a pass records of rows that stay running, and what it costs."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import Any

import pytest
from structlog.testing import capture_logs

from reconciler.core.errors import DatabaseUnusable, TemporalUnusable
from reconciler.core.model import Missing, Open, RunRow, Unknown
from reconciler.core.report.pass_report import PassReport
from reconciler.core.stuck.condition import Outdated, Reason, RowAtRisk, StuckRow
from reconciler.passes.observers import Bystander
from reconciler.passes.stuck import StuckCounts, Watch
from tests.support.factories import NOW, RETENTION, closed, row
from tests.support.fakes import Answer, MemoryStore, ScriptedProbe
from tests.support.passes.bench import FAIL, reconcile
from tests.support.passes.watching import FakeDiagnosing, FakeStuckRows, condition
from tests.support.polling import eventually

HOUR = timedelta(hours=1)
SINCE = NOW - 3 * HOUR
HEALTHY = Open(evidence=condition(Reason.WAITING))
PAUSED = Open(evidence=condition(Reason.PAUSED, SINCE))
OUTDATED = Open(evidence=Outdated())
UNDECIDED = Open(evidence="nothing that could be said in this pass")


class Bench:
    """Passes over rows whose answers a test scripts, each watched."""

    def __init__(self) -> None:
        self.rows, self.diagnosing, self.counts = FakeStuckRows(), FakeDiagnosing(), StuckCounts()
        self.now = NOW

    async def run(self, *answers: Answer, **options: Any) -> PassReport:
        """One pass over a row for each answer, with the ids from 1."""
        rows = [row(number, **options.pop("fields", {})) for number in range(1, len(answers) + 1)]
        named = {each.workflow_id: answer for each, answer in zip(rows, answers, strict=True)}
        watch = Watch(self.rows, self.diagnosing, self.counts, lambda: self.now, self.retention)
        store, probe = MemoryStore(rows), ScriptedProbe(named)
        return await reconcile(store, probe, observers=[Bystander(watch)], **options)

    def retention(self, _: RunRow) -> timedelta:
        return RETENTION

    @property
    def stuck(self) -> dict[Any, StuckRow]:
        return {k: v for k, v in self.rows.entries.items() if isinstance(v, StuckRow)}

    @property
    def at_risk(self) -> dict[Any, RowAtRisk]:
        return {k: v for k, v in self.rows.entries.items() if isinstance(v, RowAtRisk)}


@pytest.fixture
def bench() -> Bench:
    return Bench()


async def test_a_stuck_row_is_recorded_and_a_healthy_one_is_not(bench: Bench) -> None:
    await bench.run(PAUSED, HEALTHY)

    assert bench.stuck == {
        1: StuckRow(
            row_id=1,
            workflow_id="wf-1",
            run_id="run-last",
            workflow_type="Order",
            reason=Reason.PAUSED,
            text="Paused by ops",
            cause="by ops",
            since=SINCE,
            seen=NOW,
        )
    }
    assert bench.counts.by_reason == {Reason.PAUSED: (1, SINCE)}


async def test_since_survives_later_passes_of_any_process(bench: Bench) -> None:
    unknown = Open(evidence=condition(Reason.NO_WORKER))
    await bench.run(unknown)
    bench.now += HOUR

    await bench.run(unknown)

    assert (bench.stuck[1].since, bench.stuck[1].seen) == (NOW, NOW + HOUR)


@pytest.mark.parametrize(
    "now", [HEALTHY, closed(), OUTDATED], ids=["healthy", "closed", "recorded wrongly"]
)
async def test_what_is_fine_now_is_forgotten(bench: Bench, now: Answer) -> None:
    await bench.run(PAUSED, Missing())

    await bench.run(now, now)

    assert bench.rows.entries == {}
    assert bench.counts.by_reason == {}


@pytest.mark.parametrize(
    "answer",
    [UNDECIDED, Open(evidence=None), Open(screened=True, evidence=condition())],
    ids=["undecided", "no evidence", "screened"],
)
async def test_where_nothing_is_known_what_was_recorded_stays(bench: Bench, answer: Answer) -> None:
    await bench.run(PAUSED)
    before = dict(bench.stuck)

    await bench.run(answer)

    assert bench.stuck == before


async def test_a_row_that_temporal_knows_is_not_at_risk_whyever_it_is_open(bench: Bench) -> None:
    await bench.run(Unknown("DEADLINE_EXCEEDED"))

    await bench.run(UNDECIDED)

    assert bench.rows.entries == {}


async def test_a_young_row_keeps_its_entry_too(bench: Bench) -> None:
    await bench.run(PAUSED)

    await bench.run(closed(), fields={"updated_at": NOW})

    assert list(bench.stuck) == [1]


async def test_rows_that_may_lose_their_outcome(bench: Bench) -> None:
    await bench.run(Missing(), Unknown("DEADLINE_EXCEEDED"))

    created_at = NOW - HOUR
    assert {each.reason for each in bench.at_risk.values()} == {"deleted", "unknown"}
    assert bench.at_risk[2].text == "DEADLINE_EXCEEDED"
    assert {each.lost_at for each in bench.at_risk.values()} == {created_at + RETENTION}
    bench.now += HOUR
    await bench.run(PAUSED, Unknown("NOT_FOUND"))
    assert list(bench.stuck) == [1]
    assert (bench.at_risk[2].since, bench.at_risk[2].text) == (NOW, "NOT_FOUND")


async def test_rows_that_would_be_failed_count_until_they_are(bench: Bench) -> None:
    """The breaker trips: no workflow was ever found."""
    await bench.run(Missing(), Missing(), rules=FAIL)

    assert list(bench.at_risk) == [1, 2]


async def test_a_row_that_ended_meanwhile_is_forgotten_at_the_end(bench: Bench) -> None:
    await bench.run(PAUSED, PAUSED)
    bench.rows.ended = {1}

    await bench.run(UNDECIDED, UNDECIDED)

    assert list(bench.stuck) == [2]
    assert bench.counts.by_reason == {Reason.PAUSED: (1, SINCE)}


async def test_healthy_rows_cost_one_question_per_pass(bench: Bench) -> None:
    await bench.run(*[HEALTHY] * 9, batch_size=2)

    assert bench.rows.calls == {"is_empty": 1}
    assert [len(asked) for asked in bench.diagnosing.asked] == [2, 2, 2, 2, 1]
    assert bench.diagnosing.passes == 1


async def test_beside_entries_of_others_they_cost_one_question_per_page(bench: Bench) -> None:
    await bench.run(HEALTHY, PAUSED)
    bench.rows.calls.clear()

    await bench.run(HEALTHY, UNDECIDED, *[HEALTHY] * 4, batch_size=2)

    assert bench.rows.calls == {"is_empty": 1, "known": 3, "forget_ended": 1, "counts": 1}


async def test_a_database_that_fails_is_left_alone_for_the_rest_of_the_pass(bench: Bench) -> None:
    bench.rows.error = DatabaseUnusable("cannot write reconciler.stuck: full")

    with capture_logs() as lines:
        report = await bench.run(PAUSED, closed(), PAUSED, batch_size=1)

    assert (report.error, report.tally.written.total()) == (None, 1)
    assert bench.rows.calls.total() == 1
    (warning,) = [line for line in lines if line["event"] == "stuck_not_recorded"]
    assert warning["error"] == "cannot write reconciler.stuck: full"
    bench.rows.error = None
    await bench.run(PAUSED)
    assert list(bench.stuck) == [1], "the next pass makes up for it"


async def test_what_could_not_be_asked_is_asked_in_the_next_pass(bench: Bench) -> None:
    await bench.run(PAUSED, HEALTHY, PAUSED)
    bench.diagnosing.error = TemporalUnusable("no answer")

    with capture_logs() as lines:
        report = await bench.run(HEALTHY, Unknown("?"), closed(), batch_size=1)

    assert report.error is None
    assert len([line for line in lines if line["event"] == "stuck_not_diagnosed"]) == 1
    assert len(bench.diagnosing.asked) == 2, "once per pass"
    assert (list(bench.stuck), list(bench.at_risk)) == ([1], [2])


async def test_a_bug_does_not_end_the_pass(bench: Bench) -> None:
    bench.rows.error = KeyError("a bug")

    report = await bench.run(PAUSED, closed())

    assert (report.error, report.tally.written.total()) == (None, 1)


async def test_a_pass_that_ends_early_changes_no_more_entries(bench: Bench) -> None:
    await bench.run(PAUSED, PAUSED)
    bench.rows.ended = {2}

    report = await bench.run(HEALTHY, TemporalUnusable("away"), batch_size=1, concurrency=1)

    assert report.error == "away"
    assert set(bench.stuck) <= {1, 2}
    assert 2 in bench.stuck, "shown to nobody, and forgotten by the next pass"
    assert bench.counts.by_reason == {Reason.PAUSED: (2, SINCE)}


async def test_a_pass_that_is_cancelled_while_it_asks_ends_as_usual(bench: Bench) -> None:
    await bench.run(PAUSED, PAUSED, PAUSED)
    bench.diagnosing.asked.clear()
    bench.diagnosing.gate.clear()
    passing = asyncio.create_task(bench.run(HEALTHY, HEALTHY, HEALTHY, batch_size=1))

    async def asks() -> bool:
        return bool(bench.diagnosing.asked)

    await eventually(asks)
    passing.cancel()
    await asyncio.sleep(0)
    bench.diagnosing.gate.set()
    report = await passing

    assert (report.stopped, report.error) == (True, "stopped before its end")
    assert bench.diagnosing.asked == [[1]], "nothing more is asked"
    assert list(bench.stuck) == [2, 3]
    await bench.run(HEALTHY, HEALTHY, HEALTHY)
    assert bench.stuck == {}
