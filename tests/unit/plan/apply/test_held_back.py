"""Rows of a plan that the breaker held back."""

from __future__ import annotations

from pathlib import Path

import pytest
from structlog.testing import capture_logs

from reconciler.core.model import LeaveReason
from reconciler.core.report.pass_report import PassOutcome
from reconciler.plan.read import Plan
from tests.support.factories import finish, row
from tests.support.passes.applying import Pages, apply, table
from tests.support.passes.plan_files import finishes, make_plan, read_plan


class TestHeldBack:
    @pytest.fixture
    async def plan(self, tmp_path: Path) -> Plan:
        verdicts = [
            *finishes(1),
            *(
                finish(row(number), status="failed", missing=reason)
                for number, reason in enumerate(
                    [LeaveReason.EXPIRED, LeaveReason.EXPIRED, LeaveReason.DELETED], start=2
                )
            ),
            *finishes(5),
        ]
        return read_plan(await make_plan(tmp_path / "plan.jsonl", verdicts, held_back=True))

    @pytest.mark.parametrize("batch_size", [1, 2, 10])
    async def test_rows_stay_as_they_are(self, plan: Plan, batch_size: int) -> None:
        store = table(*range(1, 6))

        report = await apply(store, plan, batch_size=batch_size)

        assert sorted(map(str, store.finished)) == ["1", "5"], "what Temporal did say"
        assert report.tally.left == {LeaveReason.EXPIRED: 2, LeaveReason.DELETED: 1}
        assert (report.tally.scanned, report.changed, report.held_back) == (5, 2, 3)
        assert report.tally.oldest_left == row(2).created_at
        assert (report.outcome, report.more_left) == (PassOutcome.UNRESOLVED, False)

    async def test_observers_are_notified_of_them_with_the_others(self, plan: Plan) -> None:
        recorder = Pages()

        await apply(table(*range(1, 6)), plan, recorder, batch_size=3)

        assert recorder.pages == [[1, 2, 3], [4, 5]]

    async def test_it_is_logged_once(self, plan: Plan) -> None:
        with capture_logs() as lines:
            await apply(table(*range(1, 6)), plan, batch_size=1)

        (line,) = [line for line in lines if line["log_level"] == "warning"]
        assert line["event"] == "breaker_tripped"
        assert (line["missing"], line["scanned"], line["held_back"]) == (3, 5, 3)

    async def test_with_force_rows_are_finished(self, plan: Plan) -> None:
        store = table(*range(1, 6))

        with capture_logs() as lines:
            report = await apply(store, plan, force=True)

        assert report.tally.written == {"completed": 2, "failed": 3}
        assert (report.held_back, report.tally.left) == (0, {})
        assert report.tally.missing[LeaveReason.EXPIRED].rows == 2
        assert report.outcome is PassOutcome.OK
        assert not [line for line in lines if line["log_level"] == "warning"]

    async def test_missing_rows_that_were_not_held_back_are_finished(self, tmp_path: Path) -> None:
        verdicts = finishes(1, missing=LeaveReason.EXPIRED)
        plan = read_plan(await make_plan(tmp_path / "other.jsonl", verdicts))

        report = await apply(table(1), plan)

        assert report.changed == 1

    async def test_rows_do_not_count_as_changes(self, plan: Plan) -> None:
        recorder = Pages()

        report = await apply(table(*range(1, 6)), plan, recorder, max_changes=2)

        assert recorder.pages == [[1, 2, 3, 4, 5]]
        assert (report.tally.scanned, report.changed, report.more_left) == (5, 2, False)
