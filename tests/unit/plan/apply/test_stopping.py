"""Stopping while a plan is applied."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Sequence
from dataclasses import fields
from typing import Any

import pytest

from reconciler.core.errors import DatabaseUnusable
from reconciler.core.model import Outcome
from reconciler.core.ports import Written
from reconciler.core.report.pass_report import PassOutcome
from reconciler.core.report.progress import Progress, Span
from reconciler.plan.read import Plan
from tests.support.factories import row
from tests.support.fakes import MemoryStore
from tests.support.passes.applying import Pages, apply, table


class TestStopping:
    async def test_the_batch_under_way_is_finished_and_none_begun(self, plan: Plan) -> None:
        class Store(MemoryStore):
            writing, may_end = asyncio.Event(), asyncio.Event()

            async def finish_if_running(self, pass_id: str, outcomes: Sequence[Outcome]) -> Written:
                self.writing.set()
                await self.may_end.wait()
                return await super().finish_if_running(pass_id, outcomes)

        store, recorder = Store(row(number) for number in range(1, 9)), Pages()
        before = asyncio.all_tasks()
        task = asyncio.create_task(apply(store, plan, recorder, batch_size=2))
        await store.writing.wait()
        task.cancel()
        await asyncio.sleep(0)
        store.may_end.set()
        report = await task

        assert sorted(map(str, store.finished)) == ["2", "3"]
        assert recorder.pages == [[2, 3]]
        assert recorder.ended == [report]
        assert (report.outcome, report.error) == (PassOutcome.ABORTED, "stopped before its end")
        assert report.progress == Progress(Span(4, 7))
        assert asyncio.all_tasks() == before

    async def test_a_second_time_the_write_is_given_up_and_the_end_recorded(
        self, plan: Plan
    ) -> None:
        class Store(MemoryStore):
            writing = asyncio.Event()

            async def finish_if_running(self, pass_id: str, outcomes: Sequence[Outcome]) -> Written:
                self.writing.set()
                await asyncio.Event().wait()
                raise AssertionError

        store, recorder = Store(), Pages()
        task = asyncio.create_task(apply(store, plan, recorder))
        await store.writing.wait()
        for _ in range(2):
            task.cancel()
            await asyncio.sleep(0)
        report = await task

        assert (report.stopped, report.changed, report.tally.scanned) == (True, 0, 0)
        assert recorder.ended == [report]

    @pytest.mark.parametrize("times", [1, 2, 3])
    async def test_while_the_next_lines_are_being_read_the_thread_ends_first(
        self, plan: Plan, times: int
    ) -> None:
        reading, may_go_on = threading.Event(), threading.Event()

        class Slow(Plan):
            def batches(self, after_line: int, size: int, stopped: Any = None) -> Any:
                for batch in super().batches(after_line, size, stopped):
                    if sorted(store.finished):  # the first batch was written
                        reading.set()
                        may_go_on.wait()
                    yield batch

        store, recorder = table(*range(1, 9)), Pages()
        slow = Slow(**{each.name: getattr(plan, each.name) for each in fields(plan)})
        task = asyncio.create_task(apply(store, slow, recorder, batch_size=2))
        await asyncio.to_thread(reading.wait)
        for _ in range(times):
            task.cancel()
            await asyncio.sleep(0)
        assert not task.done(), "the thread has the file"
        may_go_on.set()
        report = await task

        assert sorted(map(str, store.finished)) == ["2", "3"]
        assert (report.outcome, report.stopped) == (PassOutcome.ABORTED, True)
        assert report.progress == Progress(Span(4, 7))
        assert recorder.ended == [report]
        assert task.cancelling() == 0

    async def test_a_thread_in_the_middle_of_many_lines_ends(self, plan: Plan) -> None:
        stop = threading.Event()
        lines = plan.batches(0, 1, stop.is_set)
        assert next(lines)
        stop.set()

        assert next(lines, None) is None

    async def test_an_unreachable_database_ends_the_pass_where_it_is(self, plan: Plan) -> None:
        class Store(MemoryStore):
            async def finish_if_running(self, pass_id: str, outcomes: Sequence[Outcome]) -> Written:
                if self.finished:
                    raise DatabaseUnusable("gone")
                return await super().finish_if_running(pass_id, outcomes)

        store, recorder = Store(row(number) for number in range(1, 9)), Pages()
        report = await apply(store, plan, recorder, batch_size=2)

        assert (report.outcome, report.error) == (PassOutcome.ABORTED, "gone")
        assert report.changed == 2
        assert report.progress == Progress(Span(4, 7))
        assert recorder.ended == [report]

    async def test_of_a_first_batch_that_fails_everything_is_left(self, plan: Plan) -> None:
        class Store(MemoryStore):
            async def finish_if_running(self, pass_id: str, outcomes: Sequence[Outcome]) -> Written:
                raise DatabaseUnusable("gone")

        report = await apply(Store(), plan)

        assert (report.tally.scanned, report.more_left) == (0, True)
        assert report.progress == Progress(Span(None, 7))

    async def test_a_plan_that_changes_meanwhile_ends_the_pass(self, plan: Plan) -> None:
        store = table(*range(1, 9))

        def change() -> None:
            plan.path.write_bytes(b"")

        recorder = Pages(after_page=change)

        report = await apply(store, plan, recorder, batch_size=2)

        assert report.error == f"--plan {plan.path}: was changed while it was being applied"
        assert sorted(map(str, store.finished)) == ["2", "3"]
