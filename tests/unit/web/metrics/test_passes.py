"""A report and some outcomes in, samples out."""

from __future__ import annotations

from collections import Counter
from datetime import timedelta
from typing import Any

import pytest
from prometheus_client import CollectorRegistry, generate_latest

from reconciler.core.model import LeaveReason
from reconciler.core.report.pass_report import PassReport
from reconciler.core.report.request import PassRequest
from reconciler.core.report.sweep import Round
from reconciler.core.report.tally import Tally
from reconciler.web.metrics.passes import MAX_WORKFLOW_TYPES, PassMetrics
from tests.support.factories import CLOSE_TIME, NOW, outcome, row
from tests.support.hostile import HOSTILE, unseen


class Bench:
    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.metrics = PassMetrics(self.registry, "run", clock=lambda: NOW)

    def value(self, name: str, **labels: str) -> float | None:
        return self.registry.get_sample_value(f"reconciler_{name}", labels)


@pytest.fixture
def bench() -> Bench:
    return Bench()


def report(**fields: Any) -> PassReport:
    own = {
        name: fields.pop(name)
        for name in ("duration_seconds", "error", "disagreements", "round")
        if name in fields
    }
    return PassReport("id", PassRequest("run"), NOW, done=Tally(**fields), **own)


async def test_a_pass_is_counted_with_its_rows(bench: Bench) -> None:
    left = Counter({LeaveReason.OPEN: 3, LeaveReason.EXPIRED: 2, LeaveReason.UNKNOWN: 1})
    await bench.metrics.on_pass(
        report(scanned=9, left=left, lost_races=1, duration_seconds=4, oldest_left=CLOSE_TIME)
    )

    assert bench.value("passes_total", mode="run", outcome="unresolved") == 1
    assert bench.value("pass_duration_seconds_sum", mode="run") == 4
    assert bench.value("rows_scanned_total") == 9
    assert bench.value("rows_left_total", reason="open") == 3
    assert bench.value("lost_races_total") == 1
    assert bench.value("running_rows") == 6
    assert bench.value("unresolved_rows") == 1
    assert bench.value("missing_rows", reason="expired") == 2
    assert bench.value("missing_rows", reason="never_started") == 0
    age = (NOW - CLOSE_TIME).total_seconds()
    assert bench.value("oldest_running_row_age_seconds") == pytest.approx(age)


async def test_finished_rows_are_counted_by_how_they_were_found(bench: Bench) -> None:
    by_feed = PassReport("id", PassRequest("feed"), NOW)
    by_sweep = PassReport("id", PassRequest("run", found_by="sweep"), NOW)
    await bench.metrics.on_written(by_feed, [outcome(row()), outcome(row(2))])
    await bench.metrics.on_written(by_sweep, [outcome(row())])

    assert bench.value("found_total", by="feed") == 2
    assert bench.value("found_total", by="sweep") == 1


async def test_a_row_whose_workflow_is_missing_was_not_found_by_its_close(bench: Bench) -> None:
    by_sweep = PassReport("id", PassRequest("run", found_by="sweep"), NOW)
    await bench.metrics.on_written(by_sweep, [outcome(row(), completed_at=None)])

    assert bench.value("found_total", by="sweep") == 0


async def test_a_pass_of_another_mode_does_not_set_the_gauges(bench: Bench) -> None:
    await bench.metrics.on_pass(report(left=Counter({LeaveReason.EXPIRED: 2})))
    found = PassReport("other", PassRequest("feed"), NOW, done=Tally(scanned=1))
    await bench.metrics.on_start(found)
    await bench.metrics.on_pass(found)

    assert bench.metrics.unfinished is None
    assert bench.value("running_rows") == 2
    assert bench.value("passes_total", mode="feed", outcome="ok") == 1


async def test_an_aborted_pass_does_not_set_the_gauges(bench: Bench) -> None:
    await bench.metrics.on_pass(report(left=Counter({LeaveReason.EXPIRED: 2})))
    await bench.metrics.on_pass(report(error="away", scanned=1))

    assert bench.value("passes_total", mode="run", outcome="aborted") == 1
    assert bench.value("running_rows") == 2
    assert bench.value("missing_rows", reason="expired") == 2


async def test_unknown_values_have_no_series(bench: Bench) -> None:
    assert bench.value("running_rows") is None
    assert bench.value("oldest_running_row_age_seconds") is None

    await bench.metrics.on_pass(report())
    assert bench.value("running_rows") == 0
    assert bench.value("oldest_running_row_age_seconds") is None

    bench.metrics.forget()
    assert bench.value("running_rows") is None
    assert bench.value("missing_rows", reason="expired") is None


@pytest.mark.parametrize(
    ("temporal_status", "missed"),
    [
        ("COMPLETED", 1),
        ("FAILED", 1),
        ("CANCELED", 1),
        ("TERMINATED", None),
        ("TIMED_OUT", None),
        ("NOT_FOUND", None),
    ],
)
async def test_only_ends_that_a_workflow_can_report_count_as_missed(
    bench: Bench, temporal_status: str, missed: float | None
) -> None:
    written = outcome(row(), status="ended", temporal_status=temporal_status, workflow_type="Order")
    await bench.metrics.on_written(report(), [written])

    assert bench.value("rows_written_total", status="ended", workflow_type="Order") == 1
    assert (
        bench.value("missed_writes_total", workflow_type="Order", status=temporal_status) == missed
    )


@pytest.mark.parametrize(
    ("found_by", "seconds", "missed"),
    [("feed", 0.9, None), ("feed", 1.1, 1), ("scan", 0.9, 1)],
)
async def test_a_row_that_the_feed_finds_at_once_may_have_been_about_to_be_reported(
    bench: Bench, found_by: str, seconds: float, missed: float | None
) -> None:
    found = PassReport("id", PassRequest("run", found_by=found_by), NOW)
    closed = NOW - timedelta(seconds=seconds)
    await bench.metrics.on_written(
        found, [outcome(row(), completed_at=closed, workflow_type="Order")]
    )

    labels = {"workflow_type": "Order", "status": "COMPLETED"}
    assert bench.value("missed_writes_total", **labels) == missed
    assert bench.value("found_total", by=found_by) == 1


async def test_drift_is_from_close_to_write(bench: Bench) -> None:
    late = outcome(row(), completed_at=NOW - timedelta(seconds=20))
    await bench.metrics.on_written(report(), [late])

    assert bench.value("drift_age_seconds_sum") == 20
    assert bench.value("drift_age_seconds_count") == 1


async def test_drift_is_not_negative_if_the_clock_of_temporal_is_ahead(bench: Bench) -> None:
    await bench.metrics.on_written(
        report(), [outcome(row(), completed_at=NOW + timedelta(seconds=20))]
    )

    assert bench.value("drift_age_seconds_sum") == 0


async def test_a_row_that_temporal_no_longer_knows_has_no_drift(bench: Bench) -> None:
    await bench.metrics.on_written(report(), [outcome(row(), completed_at=None)])

    assert bench.value("drift_age_seconds_count") == 0
    assert bench.value("rows_written_total", status="completed", workflow_type="unknown") == 1


async def test_the_number_of_workflow_types_with_series_is_limited(bench: Bench) -> None:
    for number in range(MAX_WORKFLOW_TYPES + 50):
        await bench.metrics.on_written(report(), [outcome(row(), workflow_type=f"type-{number}")])
    await bench.metrics.on_written(report(), [outcome(row(), workflow_type="type-0")])

    others = bench.value("rows_written_total", status="completed", workflow_type="other")
    assert others == 50
    assert bench.value("rows_written_total", status="completed", workflow_type="type-0") == 2


async def test_counters_that_alerts_compare_start_at_zero(bench: Bench) -> None:
    for mode in ("run", "feed"):
        assert bench.value("passes_total", mode=mode, outcome="aborted") == 0
        assert bench.value("pass_duration_seconds_count", mode=mode) == 0
    for by in ("feed", "sweep", "scan"):
        assert bench.value("found_total", by=by) == 0
    assert bench.value("rows_left_total", reason="unknown") == 0


@pytest.mark.parametrize(("crashed", "counted"), [(None, "run"), ("feed", "feed")])
async def test_what_a_bug_ends_counts_as_aborted(
    bench: Bench, crashed: str | None, counted: str
) -> None:
    bench.metrics.crash(crashed)

    assert bench.value("passes_total", mode=counted, outcome="aborted") == 1


async def test_overruns_are_counted(bench: Bench) -> None:
    bench.metrics.overrun()

    assert bench.value("pass_overruns_total") == 1


async def test_screened_rows_and_disagreements_are_counted(bench: Bench) -> None:
    assert bench.value("screening_disagreements_total") == 0, "from the start"
    for _ in range(2):
        await bench.metrics.on_pass(report(scanned=9, screened=4, disagreements=3))

    assert bench.value("rows_screened_total") == 8
    assert bench.value("screening_disagreements_total") == 6


class TestRound:
    """Passes that look at their stretch of the sweep only."""

    def stretch(
        self, rows: int, described: int, *, began: bool = False, ended: bool = False, **fields: Any
    ) -> PassReport:
        left = Counter({LeaveReason.OPEN: rows - 2, LeaveReason.EXPIRED: 1, LeaveReason.UNKNOWN: 1})
        round_ = Round(100, described, 600.5, began, ended, stretch_only=True)
        return report(scanned=rows, left=left, round=round_, **fields)

    async def test_the_gauges_are_those_of_a_complete_round(self, bench: Bench) -> None:
        passed, later = bench.metrics.on_pass, NOW + timedelta(days=1)
        await passed(self.stretch(7, 7, began=True, oldest_left=CLOSE_TIME))
        await passed(self.stretch(5, 12, oldest_left=later))
        await passed(self.stretch(9, 99, error="away"))

        assert bench.value("running_rows") is None
        assert bench.value("missing_rows", reason="expired") is None
        assert bench.value("sweep_round_seconds") == 600.5

        await passed(self.stretch(3, 15, ended=True, oldest_left=later))

        assert bench.value("running_rows") == 15
        assert bench.value("missing_rows", reason="expired") == 3
        assert bench.value("unresolved_rows") == 3
        age = (NOW - CLOSE_TIME).total_seconds()
        assert bench.value("oldest_running_row_age_seconds") == pytest.approx(age)

        await passed(self.stretch(4, 4, began=True))
        assert bench.value("running_rows") == 15

        await passed(self.stretch(6, 10, ended=True))
        assert bench.value("running_rows") == 10

    async def test_a_round_may_be_a_single_pass(self, bench: Bench) -> None:
        await bench.metrics.on_pass(self.stretch(7, 7, began=True, ended=True))

        assert bench.value("running_rows") == 7

    @pytest.mark.parametrize("gap", ["another replica began it", "a command did a part"])
    async def test_a_round_that_this_process_has_not_seen_as_a_whole_sets_nothing(
        self, bench: Bench, gap: str
    ) -> None:
        await bench.metrics.on_pass(self.stretch(7, 7, began=True))
        if gap == "another replica began it":
            bench.metrics.forget()
            await bench.metrics.on_pass(self.stretch(3, 10, ended=True))
        else:
            await bench.metrics.on_pass(self.stretch(3, 20, ended=True))

        assert bench.value("running_rows") is None

    async def test_a_whole_pass_sets_them_at_once(self, bench: Bench) -> None:
        left, round_ = Counter({LeaveReason.OPEN: 8}), Round(8, 3, 600, began=True, ended=False)
        await bench.metrics.on_pass(report(scanned=8, left=left, round=round_))

        assert bench.value("running_rows") == 8
        assert bench.value("sweep_round_seconds") == 600

    async def test_they_are_unknown_once_another_replica_runs_the_passes(
        self, bench: Bench
    ) -> None:
        await bench.metrics.on_pass(self.stretch(7, 7, began=True, ended=True))

        bench.metrics.forget()

        for name in ("running_rows", "unresolved_rows", "sweep_round_seconds"):
            assert bench.value(name) is None


async def test_labels_are_safe_to_print_on_a_terminal(bench: Bench) -> None:
    await bench.metrics.on_written(report(), [outcome(row(), workflow_type=HOSTILE)])

    assert unseen(generate_latest(bench.registry).decode()) == set()
