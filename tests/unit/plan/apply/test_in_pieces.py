"""Applying a plan in pieces: resuming where an earlier process ended, and limits."""

from __future__ import annotations

import json
from collections.abc import Sequence
from uuid import UUID

import pytest

from reconciler.core.errors import DatabaseUnusable
from reconciler.core.model import Outcome
from reconciler.core.ports import Written
from reconciler.core.report.pass_report import PassOutcome, PassReport
from reconciler.core.report.progress import Progress, Span
from reconciler.plan.read import Plan
from reconciler.postgres.journal.checkpoint import restore, to_json
from tests.support.factories import row
from tests.support.fakes import MemoryStore
from tests.support.passes.applying import apply, new_report, table


class TestResuming:
    def begun(self, after: int, scanned: int, written: int, unrecorded: int = 0) -> PassReport:
        report = new_report()
        report.resumed = True
        report.progress = Progress(Span(after, 7))
        report.done.scanned, report.done.written["completed"] = scanned, written - unrecorded
        report.correct({"completed": written})
        return report

    async def test_begins_after_the_last_line_that_was_done(self, plan: Plan) -> None:
        store = table(*range(1, 9))

        report = await apply(store, plan, report=self.begun(4, 2, 2), batch_size=1)

        assert sorted(map(str, store.finished)) == ["5", "6"]
        assert (report.tally.scanned, report.changed, report.tally.lost_races) == (4, 4, 0)

    async def test_what_is_done_is_not_repeated(self, plan: Plan) -> None:
        store, report = table(*range(1, 9)), new_report()
        report.progress = Progress()

        await apply(store, plan, report=report)

        assert not store.finished

    @pytest.mark.parametrize("batch_size", [1, 2, 10])
    async def test_what_was_written_and_not_recorded_is_counted_once(
        self, plan: Plan, batch_size: int
    ) -> None:
        """Killed after the write of 3 and 5, before its record; 6 was finished by somebody else."""
        store = table(1, 4, 7)

        begun = self.begun(3, 1, 3, unrecorded=2)
        report = await apply(store, plan, report=begun, batch_size=batch_size)

        assert (report.tally.scanned, report.changed, report.tally.lost_races) == (4, 3, 1)

    async def test_in_pieces_it_writes_the_same_as_at_once(self, plan: Plan) -> None:
        store = table(1, 2, 3, 4, 6, 7)
        report, pieces = await apply(store, plan, limit=1), 1
        while report.more_left:
            report = await apply(store, plan, report=kept(report), limit=1)
            pieces += 1

        assert pieces == 4
        assert (report.tally.scanned, report.changed, report.tally.lost_races) == (4, 3, 1)

    async def test_what_failed_is_tried_again_and_counted_once(self, plan: Plan) -> None:
        class Store(MemoryStore):
            unreachable = True

            async def finish_if_running(self, pass_id: str, outcomes: Sequence[Outcome]) -> Written:
                if self.finished and self.unreachable:
                    raise DatabaseUnusable("gone")
                return await super().finish_if_running(pass_id, outcomes)

        store = Store([row(2), row(6)])
        begun = await apply(store, plan, batch_size=1)
        assert begun.error == "gone"
        store.unreachable = False
        report = await apply(store, plan, report=kept(begun), batch_size=1)

        assert (report.tally.scanned, report.changed, report.tally.lost_races) == (4, 2, 2)


def kept(report: PassReport) -> PassReport:
    """What another process knows of a pass, over a table whose ids are not numbers."""
    assert report.progress
    cursor = json.loads(json.dumps(to_json(report.progress, report.done)))
    restored = new_report()
    restore(restored, cursor, lambda value: UUID(value) if isinstance(value, str) else value)
    restored.correct(report.tally.written)
    return restored


class TestLimits:
    @pytest.mark.parametrize("batch_size", [1, 2, 3, 10])
    async def test_it_ends_at_the_limit_of_changes(self, plan: Plan, batch_size: int) -> None:
        store = table(1, 3, 5, 6)

        report = await apply(store, plan, batch_size=batch_size, max_changes=2)

        assert sorted(map(str, store.finished)) == ["3", "5"]
        assert (report.tally.scanned, report.tally.lost_races) == (3, 1)
        assert report.more_left
        assert report.progress == Progress(Span(6, 7))
        assert report.outcome is PassOutcome.UNRESOLVED

    async def test_the_limit_of_changes_counts_this_process_only(self, plan: Plan) -> None:
        store = table(*range(1, 9))
        report = await apply(store, plan, max_changes=2)

        await apply(store, plan, report=report, max_changes=1)

        assert (report.changed, report.more_left) == (3, True)

    async def test_it_ends_at_the_limit_of_lines(self, plan: Plan) -> None:
        store = table(1, 3, 5, 6)

        report = await apply(store, plan, batch_size=2, limit=3)

        assert sorted(map(str, store.finished)) == ["3", "5"]
        assert (report.tally.scanned, report.tally.lost_races, report.more_left) == (3, 1, True)

    @pytest.mark.parametrize(("max_changes", "limit"), [(4, 99), (99, 4)])
    async def test_at_the_end_there_is_nothing_left(
        self, plan: Plan, max_changes: int, limit: int
    ) -> None:
        report = await apply(table(*range(1, 9)), plan, max_changes=max_changes, limit=limit)

        assert (report.changed, report.more_left) == (4, False)
        assert report.outcome is PassOutcome.OK

    async def test_a_statement_writes_no_more_than_a_batch(self, plan: Plan) -> None:
        class Store(MemoryStore):
            sizes: list[int] = []  # noqa: RUF012

            async def finish_if_running(self, pass_id: str, outcomes: Sequence[Outcome]) -> Written:
                self.sizes.append(len(outcomes))
                return await super().finish_if_running(pass_id, outcomes)

        store = Store()
        await apply(store, plan, batch_size=3)

        assert store.sizes == [3, 1]
