"""Reading, asking and writing page by page, and at the same time."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from datetime import timedelta

import pytest

from reconciler.core.errors import DatabaseUnusable, TemporalUnusable
from reconciler.core.model import Missing, Observation, Open, Outcome, RowId, RunRow, Unknown
from reconciler.core.ports import Written
from reconciler.core.report.pass_report import PassOutcome
from reconciler.core.report.progress import Progress, Span
from tests.support.factories import closed, row
from tests.support.fakes import MemoryStore, ScriptedProbe
from tests.support.passes.bench import reconcile, rows, scripted
from tests.support.polling import deadline


@pytest.mark.parametrize("observation", [Open(), Unknown("busy"), Missing(), closed()], ids=repr)
async def test_the_cursor_moves_whatever_the_verdict(observation: Observation) -> None:
    store = MemoryStore(rows(7))
    probe = scripted(observation, wf_7=closed())

    async with deadline():
        report = await reconcile(store, probe, batch_size=2)

    assert report.tally.scanned == 7
    assert sorted(probe.asked) == [f"wf-{number}" for number in range(1, 8)]
    assert 7 in store.finished, "a page of rows that are left must not strand those after it"


async def test_the_batch_size_bounds_a_page() -> None:
    store = MemoryStore(rows(5))

    await reconcile(store, scripted(Open()), batch_size=2)

    assert store.pages == 3, "2 + 2 + 1"


async def test_rows_inserted_during_the_pass_wait_for_the_next_one() -> None:
    store = MemoryStore(rows(2))

    def insert_another(asked: RunRow) -> Observation:
        number = max(int(str(i)) for i in store.running) + 1
        store.running[number] = row(number)
        return Open()

    async with deadline():
        report = await reconcile(
            store, ScriptedProbe({"wf-1": insert_another, "wf-2": insert_another}), batch_size=1
        )

    assert report.tally.scanned == 2


async def test_the_pass_ends_even_if_its_last_row_is_finished_meanwhile() -> None:
    store = MemoryStore(rows(4))

    def finish_the_last(asked: RunRow) -> Observation:
        store.running.pop(4, None)
        return Open()

    report = await reconcile(store, scripted(Open(), wf_1=finish_the_last), batch_size=1)

    assert report.tally.scanned == 3
    assert not report.more_left


async def test_observation_is_concurrent_and_bounded() -> None:
    probe = scripted(Open())

    await reconcile(MemoryStore(rows(50)), probe, concurrency=8)

    assert probe.most_at_once == 8


async def test_an_unusable_temporal_ends_the_pass_and_keeps_what_was_written() -> None:
    store = MemoryStore(rows(4))
    probe = scripted(closed(), wf_4=TemporalUnusable("no such namespace"))

    report = await reconcile(store, probe, batch_size=2, concurrency=1)

    assert sorted(store.finished) == [1, 2, 3], "what was answered before is settled"
    assert report.outcome is PassOutcome.ABORTED
    assert report.error == "no such namespace"
    assert report.tally.written == {"completed": 3}
    assert report.progress == Progress(Span(2, 4)), "the second page is not done"


async def test_an_unreachable_temporal_is_noticed_in_an_empty_table() -> None:
    class Probe(ScriptedProbe):
        async def retention(self) -> timedelta:
            raise TemporalUnusable("unreachable")

    report = await reconcile(MemoryStore(), Probe({}))

    assert (report.outcome, report.error) == (PassOutcome.ABORTED, "unreachable")


async def test_an_unusable_database_ends_the_pass() -> None:
    class Store(MemoryStore):
        async def scan_running(
            self, after: RowId | None, until: RowId, limit: int
        ) -> Sequence[RunRow]:
            if after is not None:
                raise DatabaseUnusable("gone")
            return await super().scan_running(after, until, limit)

    report = await reconcile(Store(rows(3)), scripted(Open()), batch_size=1)

    assert report.outcome is PassOutcome.ABORTED
    assert report.error == "gone"


async def test_the_next_page_is_read_while_this_one_is_observed() -> None:
    store, asked, read = MemoryStore(rows(2)), asyncio.Event(), asyncio.Event()

    class Store(MemoryStore):
        async def scan_running(
            self, after: RowId | None, until: RowId, limit: int
        ) -> Sequence[RunRow]:
            if after is not None:
                await asked.wait()
                read.set()
            return await store.scan_running(after, until, limit)

    class Probe(ScriptedProbe):
        async def observe(self, asked_row: RunRow) -> Observation:
            asked.set()
            await read.wait()
            return Open()

    async with deadline():
        report = await reconcile(Store(rows(2)), Probe({}), batch_size=1)

    assert report.tally.scanned == 2


async def test_a_page_is_written_while_the_next_is_observed() -> None:
    next_asked = asyncio.Event()

    class Store(MemoryStore):
        async def finish_if_running(self, pass_id: str, outcomes: Sequence[Outcome]) -> Written:
            if outcomes[0].row.id == 1:
                await next_asked.wait()
            return await super().finish_if_running(pass_id, outcomes)

    class Probe(ScriptedProbe):
        async def observe(self, asked_row: RunRow) -> Observation:
            if asked_row.id == 2:
                next_asked.set()
            return closed()

    async with deadline():
        report = await reconcile(Store(rows(2)), Probe({}), batch_size=1)

    assert report.tally.written == {"completed": 2}


async def test_what_has_been_decided_is_written_though_temporal_went_away_meanwhile() -> None:
    unreachable = asyncio.Event()

    class Store(MemoryStore):
        async def finish_if_running(self, pass_id: str, outcomes: Sequence[Outcome]) -> Written:
            await unreachable.wait()
            await asyncio.sleep(0)
            return await super().finish_if_running(pass_id, outcomes)

    class Probe(ScriptedProbe):
        async def observe(self, asked_row: RunRow) -> Observation:
            if asked_row.id == 2:
                unreachable.set()
                raise TemporalUnusable("unreachable")
            return closed()

    store = Store(rows(2))
    report = await reconcile(store, Probe({}), batch_size=1)

    assert list(store.finished) == [1]
    assert report.tally.written == {"completed": 1}
    assert report.outcome is PassOutcome.ABORTED
