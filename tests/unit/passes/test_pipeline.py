"""The stages of a pass that overlap, how far they may run ahead, and how they end."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import AsyncIterator, Sequence

import pytest
from structlog.testing import capture_logs

from reconciler.core.errors import DatabaseUnusable, TemporalUnusable, Unusable
from reconciler.core.model import Observation, Open, RowId, RunRow
from reconciler.core.ports import Probe
from reconciler.core.report.pass_report import PassOutcome
from reconciler.core.report.progress import Progress, Span
from reconciler.passes.log import PassLog
from reconciler.passes.pipeline import AHEAD, Page, Pipeline, Screening
from tests.support.factories import closed
from tests.support.fakes import MemoryStore, ScriptedProbe
from tests.support.passes.bench import reconcile, rows, scripted
from tests.support.passes.sweeping import screened_pass
from tests.unit.passes.test_on_page import Pages


@pytest.fixture(autouse=True)
async def nothing_goes_on() -> AsyncIterator[None]:
    """However it ends, no task is left behind."""
    before = asyncio.all_tasks()
    yield
    assert asyncio.all_tasks() - before <= {asyncio.current_task()}


class Gated(ScriptedProbe):
    """Answers once the row's gate is open; rows without one at once."""

    def __init__(self, default: Observation, *gated: int) -> None:
        super().__init__({}, default)
        self.gates = {number: asyncio.Event() for number in gated}
        self.answered: set[RowId] = set()

    async def observe(self, asked_row: RunRow) -> Observation:
        found = await super().observe(asked_row)
        if gate := self.gates.get(int(str(asked_row.id))):
            await gate.wait()
        self.answered.add(asked_row.id)
        return found


async def at_rest() -> None:
    """Let every stage run until it has to wait."""
    for _ in range(300):
        await asyncio.sleep(0)


def pipeline(
    store: MemoryStore, probe: Probe, screening: Screening | None = None, **options: int
) -> Pipeline:
    span = Span(None, max(int(str(id_)) for id_ in store.running))
    given = {"size": 2, "concurrency": 4, **options}
    return Pipeline(store, probe, span, screening or Screening(), PassLog().bug, **given)


def ids(page: Page | None) -> list[RowId]:
    return [] if page is None else [row.id for row in page.rows]


class TestOverlap:
    async def test_rows_of_the_next_page_are_asked_while_the_last_of_this_one_is(self) -> None:
        class Probe(Gated):
            async def observe(self, asked_row: RunRow) -> Observation:
                if asked_row.id == 4:
                    self.gates[2].set()
                return await super().observe(asked_row)

        probe = Probe(Open(), 2)

        report = await reconcile(MemoryStore(rows(4)), probe, batch_size=2, concurrency=2)

        assert report.tally.scanned == 4

    async def test_the_next_page_is_screened_while_this_one_is_described(self) -> None:
        class Probe(Gated):
            async def screen(
                self, rows: Sequence[RunRow], saving: float = 1.0
            ) -> Sequence[bool | None]:
                if rows[0].id == 3:
                    self.gates[1].set()
                return await super().screen(rows)

        probe = Probe(Open(), 1)

        await screened_pass(MemoryStore(rows(4)), probe, batch_size=2, concurrency=1)

        assert len(probe.screened) == 4

    async def test_rows_are_asked_while_the_next_page_is_screened(self) -> None:
        asked = asyncio.Event()

        class Probe(ScriptedProbe):
            async def screen(
                self, rows: Sequence[RunRow], saving: float = 1.0
            ) -> Sequence[bool | None]:
                if rows[0].id == 3:
                    await asked.wait()
                return await super().screen(rows)

            async def observe(self, asked_row: RunRow) -> Observation:
                asked.set()
                return Open()

        probe = Probe({})

        await screened_pass(MemoryStore(rows(4)), probe, batch_size=2, concurrency=1)

        assert len(probe.screened) == 4

    async def test_a_page_with_nothing_to_ask_waits_for_nobody(self) -> None:
        class First(Screening):
            async def screen(self, page: Page) -> None:
                for index in range(2 if page.rows[0].id == 1 else 0):
                    page.answer(index, Open())

        probe = Gated(closed(), 3)
        async with pipeline(MemoryStore(rows(4)), probe, First()) as feeding:
            assert ids(await feeding.next()) == [1, 2]
            assert 1 not in probe.answered

    async def test_pages_come_in_their_order_whatever_that_of_the_answers(self) -> None:
        probe, store = Gated(closed(), 1), MemoryStore(rows(6))
        async with pipeline(store, probe) as feeding:
            first = asyncio.create_task(feeding.next())
            await at_rest()
            assert (probe.answered, first.done()) == ({2, 3, 4}, False)
            probe.gates[1].set()

            assert ids(await first) == [1, 2]
            assert [ids(await feeding.next()) for _ in range(3)] == [[3, 4], [5, 6], []]


class TestBounds:
    async def test_the_number_of_pages_under_way_is_bounded(self) -> None:
        probe, store = Gated(Open(), 1), MemoryStore(rows(40))
        async with pipeline(store, probe) as feeding:
            await at_rest()
            assert store.pages == 1 + AHEAD
            probe.gates[1].set()

            for handed_out in range(1, 4):
                assert await feeding.next()
                await at_rest()
                assert store.pages == AHEAD + handed_out, "the page that is settled included"

    async def test_nothing_is_read_ahead_if_it_may_not_be_needed(self) -> None:
        probe, store = scripted(Open()), MemoryStore(rows(40))
        async with pipeline(store, probe, ahead=0) as feeding:
            assert ids(await feeding.next()) == [1, 2]
            await at_rest()
            assert store.pages == 1

    async def test_no_more_rows_are_read_than_the_limit(self) -> None:
        store, probe = MemoryStore(rows(40)), scripted(Open())
        async with pipeline(store, probe, rows=5) as feeding:
            pages = [ids(await feeding.next()) for _ in range(4)]

        assert pages == [[1, 2], [3, 4], [5], []]
        assert len(probe.asked) == 5


class TestEnds:
    """An early end. In most tests page 2 of 3 gets no answers, and the pages around it do."""

    async def test_stopped(self) -> None:
        store, probe, pages = MemoryStore(rows(6)), Gated(closed(), 3), Pages()
        task = asyncio.create_task(
            reconcile(store, probe, observers=[pages], batch_size=2, concurrency=4)
        )
        await at_rest()
        assert probe.answered == {1, 2, 4, 5, 6}
        task.cancel()
        report = await task

        assert sorted(store.finished) == [1, 2, 4, 5, 6], "what was answered is written"
        assert report.progress == Progress(Span(2, 6)), "and nobody resumes after the gap"
        assert pages.rows == [[1, 2]]
        assert (report.stopped, report.tally.scanned) == (True, 5)

    async def test_temporal_becomes_unusable(self) -> None:
        class Probe(Gated):
            async def observe(self, asked_row: RunRow) -> Observation:
                found = await super().observe(asked_row)
                if asked_row.id == 3:
                    raise TemporalUnusable("unreachable")
                return found

        store, probe, pages = MemoryStore(rows(6)), Probe(closed(), 3), Pages()
        task = asyncio.create_task(
            reconcile(store, probe, observers=[pages], batch_size=2, concurrency=4)
        )
        await at_rest()
        probe.gates[3].set()
        report = await task

        assert sorted(store.finished) == [1, 2, 4, 5, 6]
        assert report.progress == Progress(Span(2, 6))
        assert pages.rows == [[1, 2]]
        assert (report.outcome, report.error) == (PassOutcome.ABORTED, "unreachable")

    async def test_the_database_becomes_unusable(self) -> None:
        class Store(MemoryStore):
            async def scan_running(
                self, after: RowId | None, until: RowId, limit: int
            ) -> Sequence[RunRow]:
                if after == 4:
                    await at_rest()
                    raise DatabaseUnusable("gone")
                return await super().scan_running(after, until, limit)

        async with pipeline(Store(rows(6)), Gated(closed(), 3)) as feeding:
            first, second = await feeding.next(), await feeding.next()
            assert first and second  # noqa: PT018
            assert (first.complete, second.complete) == (True, False)
            assert second.observations == [None, closed()]
            with pytest.raises(DatabaseUnusable, match="gone"):
                await feeding.next()

    async def test_screening_fails(self) -> None:
        error = Unusable("unreachable")

        class Failing(Screening):
            async def screen(self, page: Page) -> None:
                raise error

        async with pipeline(MemoryStore(rows(1)), scripted(Open()), Failing()) as feeding:
            assert ids(await feeding.next()) == [1]
            with pytest.raises(Unusable) as raised:
                await feeding.next()
        assert raised.value is error, "as it was, in no group"

    async def test_screening_has_a_bug(self) -> None:
        class Failing(Screening):
            async def screen(self, page: Page) -> None:
                raise RuntimeError("a bug")

        async with pipeline(MemoryStore(rows(1)), scripted(Open()), Failing()) as feeding:
            page = await feeding.next()
            assert page and page.observations == [Open()]  # noqa: PT018
            assert await feeding.next() is None

    @pytest.mark.parametrize("bug_first", [True, False])
    async def test_of_a_bug_and_an_unusable_server_at_once_neither_is_lost(
        self, bug_first: bool
    ) -> None:
        bug, unreachable = KeyError("a bug"), Unusable("unreachable")
        one, other = (bug, unreachable) if bug_first else (unreachable, bug)
        asked = asyncio.Event()

        class Store(MemoryStore):
            async def scan_running(
                self, after: RowId | None, until: RowId, limit: int
            ) -> Sequence[RunRow]:
                if after is None:
                    return await super().scan_running(after, until, limit)
                await asked.wait()
                raise one

        class Failing(Screening):
            async def screen(self, page: Page) -> None:
                asked.set()
                try:
                    await asyncio.Event().wait()
                finally:
                    raise other

        with capture_logs() as lines:
            async with pipeline(Store(rows(4)), scripted(Open()), Failing()) as feeding:
                await feeding.next()
                with pytest.raises((KeyError, Unusable)) as raised:
                    await feeding.next()

        if bug_first:
            assert raised.value is bug
            assert isinstance(bug.__cause__, BaseExceptionGroup), "nor is the other lost"
        else:  # a screening with a bug ends nothing
            assert raised.value is unreachable
            assert [line["log_level"] for line in lines] == ["error"]

    async def test_a_bug_is_raised_rather_than_the_unusable_server_before_it(self) -> None:
        scanning = asyncio.Event()

        class Store(MemoryStore):
            async def scan_running(
                self, after: RowId | None, until: RowId, limit: int
            ) -> Sequence[RunRow]:
                if after is None:
                    return await super().scan_running(after, until, limit)
                scanning.set()
                try:
                    await asyncio.Event().wait()
                finally:
                    raise KeyError("a bug")

        class Unreachable(ScriptedProbe):
            async def observe(self, asked_row: RunRow) -> Observation:
                await scanning.wait()
                raise Unusable("unreachable")

        async with pipeline(Store(rows(4)), Unreachable({})) as feeding:
            await feeding.next()
            with pytest.raises(KeyError, match="a bug"):
                await feeding.next()

    @pytest.mark.parametrize("error", [ValueError("odd"), asyncio.CancelledError()], ids=repr)
    async def test_a_bug_concerns_its_row_alone(self, error: BaseException) -> None:
        class Odd(ScriptedProbe):
            async def observe(self, asked_row: RunRow) -> Observation:
                await asyncio.sleep(0)
                if asked_row.id in {2, 3}:
                    raise error
                return closed()

        store = MemoryStore(rows(6))
        with capture_logs() as lines:
            report = await reconcile(store, Odd({}), batch_size=2, concurrency=2)

        assert sorted(store.finished) == [1, 4, 5, 6]
        assert (report.outcome, report.unknown) == (PassOutcome.UNRESOLVED, 2)
        crashed = [line for line in lines if line["event"] == "row_crashed"]
        assert [line["log_level"] for line in crashed] == ["error"], "one traceback"

    async def test_a_bug_while_it_is_stopped_does_not_keep_it_going(self) -> None:
        class Odd(ScriptedProbe):
            async def observe(self, asked_row: RunRow) -> Observation:
                self.asked.append(asked_row.workflow_id)
                try:
                    await asyncio.Event().wait()
                finally:
                    raise ValueError("odd")
                return Open()

        probe = Odd({})
        async with pipeline(MemoryStore(rows(8)), probe, concurrency=2) as feeding:
            await at_rest()
            feeding.stop()
            with capture_logs() as lines:
                pages = [await feeding.next() for _ in range(5)]

        assert pages[-1] is None
        assert len(probe.asked) == 2
        assert [line["log_level"] for line in lines] == ["error"]

    async def test_a_bug_in_learning_does_not_end_the_pass(self) -> None:
        class Failing(Screening):
            def learn(self, page: Page) -> None:
                raise ZeroDivisionError

        async with pipeline(MemoryStore(rows(4)), scripted(Open()), Failing()) as feeding:
            with capture_logs() as lines:
                assert [ids(await feeding.next()) for _ in range(3)] == [[1, 2], [3, 4], []]
        assert [line["log_level"] for line in lines] == ["error"]

    async def test_stopped_twice_while_it_ends_loses_nothing(self) -> None:
        unwinding = asyncio.Event()
        lost: list[object] = []
        asyncio.get_running_loop().set_exception_handler(lambda _, context: lost.append(context))

        class Slow(ScriptedProbe):
            async def observe(self, asked_row: RunRow) -> Observation:
                try:
                    await asyncio.Event().wait()
                finally:
                    unwinding.set()
                    await asyncio.sleep(0)
                    await asyncio.sleep(0)
                    raise Unusable("unreachable")
                return Open()

        async def ask() -> None:
            async with pipeline(MemoryStore(rows(1)), Slow({})) as feeding:
                await feeding.next()

        asking = asyncio.create_task(ask())
        for _ in range(9):
            await asyncio.sleep(0)
        asking.cancel()
        await unwinding.wait()
        asking.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asking
        for _ in range(9):
            await asyncio.sleep(0)
        gc.collect()
        assert not lost

    async def test_the_caller_fails(self) -> None:
        probe = Gated(Open(), *range(3, 41))

        async def settle() -> None:
            async with pipeline(MemoryStore(rows(40)), probe) as feeding:
                await feeding.next()
                raise KeyError

        with pytest.raises(KeyError):
            await settle()

    async def test_the_caller_does_not_read_the_rest(self) -> None:
        probe = Gated(Open(), *range(3, 41))
        async with pipeline(MemoryStore(rows(40)), probe) as feeding:
            assert ids(await feeding.next()) == [1, 2]
