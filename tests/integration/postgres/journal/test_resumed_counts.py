"""Passes that are killed, stopped or cut off, and resumed: each row is written and counted once."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import pytest

from reconciler.core.errors import TemporalUnusable
from reconciler.core.model import Missing, Observation, Open, Outcome, RunRow
from reconciler.core.observer import Observer, PassView
from reconciler.core.report.pass_report import PassReport
from reconciler.core.report.request import PassRequest
from reconciler.postgres.rows.store import PostgresStore
from reconciler.postgres.table.mapping import MappedTable
from tests.conftest import Database
from tests.support.factories import NOW, closed
from tests.support.fakes import Answer, ScriptedProbe
from tests.support.passes.bench import FAIL, accounted_for, reconcile


class Killed(BaseException):
    """Nothing is reported or recorded any more."""


@dataclass
class Kill(Observer):
    """Ends the process after N writes, before they are recorded."""

    writes: int

    async def on_written(self, report: PassView, outcomes: Sequence[Outcome]) -> None:
        self.writes -= 1
        if self.writes == 0:
            raise Killed


@dataclass
class Bench:
    """Six rows, and processes that pass over them one after the other."""

    database: Database
    table: MappedTable
    answers: dict[str, Answer]
    default: Observation

    async def run(
        self, *observers: Observer, probe: ScriptedProbe | None = None, **options: Any
    ) -> PassReport:
        """The same command again: resumes the pass."""
        history, request = self.database.history(), PassRequest("backfill", asked={"since": None})
        return await reconcile(
            PostgresStore(self.database.engine, self.table),
            probe or ScriptedProbe(self.answers, self.default),
            FAIL,
            history=history,
            observers=observers,
            report=await history.resume(request, self.table.read_id)
            or PassReport.begin(request, NOW),
            **options,
        )

    async def is_right(self, report: PassReport, written: dict[str, int], left: int) -> None:
        """Every row was finished once, and the report says so."""
        (journal,) = await self.database.fetch(
            "SELECT count(*) AS changes, count(DISTINCT row_id) AS rows FROM reconciler.changes"
        )
        assert journal == {"changes": sum(written.values()), "rows": sum(written.values())}
        (row,) = await self.database.fetch("SELECT outcome, cursor FROM reconciler.passes")
        assert row == {"outcome": "ok", "cursor": None}
        assert +report.tally.written == written
        assert (report.tally.left.total(), report.tally.lost_races) == (left, 0)
        assert report.tally.scanned == accounted_for(report) == 6


@pytest.fixture
async def bench(database: Database) -> Bench:
    for number in range(1, 7):
        await database.insert(f"wf-{number}", "run", created_at=NOW - timedelta(hours=1))
    return Bench(database, await database.table(), {"wf-2": Open()}, closed())


@pytest.mark.parametrize("writes", [1, 2, 3])
async def test_what_was_written_by_a_pass_that_was_killed_is_known_from_the_journal(
    bench: Bench, writes: int
) -> None:
    await bench.run(max_changes=1)  # recorded: one of the first page, and the open row
    with pytest.raises(Killed):
        await bench.run(Kill(writes), batch_size=1)

    report = await bench.run(batch_size=2)

    await bench.is_right(report, {"completed": 5}, left=1)


async def test_a_pass_that_was_killed_before_it_recorded_anything_starts_over(
    bench: Bench,
) -> None:
    with pytest.raises(Killed):
        await bench.run(Kill(1), batch_size=2)

    report = await bench.run(batch_size=2)

    rows = await bench.database.fetch("SELECT outcome FROM reconciler.passes ORDER BY started_at")
    assert sorted(str(row["outcome"]) for row in rows) == ["None", "ok"]
    assert (report.tally.scanned, report.changed, report.resumed) == (5, 4, False)


async def test_a_pass_in_pieces_is_one_pass(bench: Bench) -> None:
    pieces = [await bench.run(batch_size=2, max_changes=2) for _ in range(3)]

    assert [piece.more_left for piece in pieces] == [True, True, False]
    assert len({piece.pass_id for piece in pieces}) == 1
    assert pieces[-1].rpcs["describe"] >= 6, "the calls of all three"
    assert pieces[0].duration_seconds < pieces[1].duration_seconds < pieces[2].duration_seconds
    await bench.is_right(pieces[-1], {"completed": 5}, left=1)


async def test_missing_rows_are_failed_in_pieces_too(bench: Bench) -> None:
    bench.default = Missing()
    report = await bench.run(batch_size=2, max_changes=2)
    while report.more_left:
        report = await bench.run(batch_size=2, max_changes=2)

    await bench.is_right(report, {"failed": 5}, left=1)


@pytest.mark.parametrize("writes", [1, 2, 3])
async def test_a_pass_that_was_killed_at_the_second_look_counts_its_rows_once(
    bench: Bench, writes: int
) -> None:
    bench.default = Missing()
    with pytest.raises(Killed):
        await bench.run(Kill(writes), batch_size=2)

    report = await bench.run(batch_size=2)

    await bench.is_right(report, {"failed": 5}, left=1)


class Hanging(ScriptedProbe):
    """Answers for N rows, then no more; or says that Temporal is unreachable."""

    def __init__(self, bench: Bench, answers: int, *, away: bool) -> None:
        super().__init__(bench.answers, bench.default)
        self.answers_left, self.away = answers, away
        self.hanging = asyncio.Event()

    async def observe(self, row: RunRow) -> Observation:
        if len(self.asked) == self.answers_left:
            self.hanging.set()
            if self.away:
                raise TemporalUnusable("away")
            await asyncio.Event().wait()
        return await super().observe(row)


async def cut_short(bench: Bench, answers: int, *, away: bool = False) -> None:
    """A process that is stopped, or cut off, after N answers."""
    probe = Hanging(bench, answers, away=away)
    task = asyncio.create_task(bench.run(probe=probe, batch_size=6))
    await probe.hanging.wait()
    if not away:
        task.cancel()
    report = await task
    assert report.error == ("away" if away else "stopped before its end")


@pytest.mark.parametrize("answers", [0, 1])
async def test_a_pass_that_was_stopped_before_it_has_left_a_row_goes_on(
    bench: Bench, answers: int
) -> None:
    await bench.run(max_changes=1)
    await cut_short(bench, answers)

    await bench.is_right(await bench.run(), {"completed": 5}, left=1)


@pytest.mark.parametrize("default", [closed(), Missing()], ids=["closed", "missing"])
async def test_a_pass_that_was_cut_off_from_temporal_goes_on(
    bench: Bench, default: Observation
) -> None:
    await bench.run(max_changes=1)
    bench.default = default
    await cut_short(bench, 2, away=True)

    report = await bench.run(batch_size=2)

    first = {"completed": 1, "failed": 4} if isinstance(default, Missing) else {"completed": 5}
    await bench.is_right(report, first, left=1)


@pytest.mark.parametrize("default", [closed(), Missing()], ids=["closed", "missing"])
async def test_a_pass_that_was_stopped_within_a_page_counts_its_rows_once(
    bench: Bench, default: Observation
) -> None:
    await bench.run(max_changes=1)
    bench.default = default
    bench.answers["wf-4"] = Open()
    await cut_short(bench, 3)

    report = await bench.run(batch_size=2)

    first = {"completed": 1, "failed": 3} if isinstance(default, Missing) else {"completed": 4}
    await bench.is_right(report, first, left=2)


async def test_a_pass_that_was_stopped_within_a_second_look_counts_its_rows_once(
    bench: Bench,
) -> None:
    bench.default = Missing()
    await cut_short(bench, 6 + 3)

    report = await bench.run(batch_size=2)

    await bench.is_right(report, {"failed": 5}, left=1)
