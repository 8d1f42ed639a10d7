"""What metrics show of a feed."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest

from reconciler.core.errors import FeedOff, TemporalUnusable, Unusable
from reconciler.core.model import CloseStatus, LeaveReason
from reconciler.daemon.feed_gauges import feed_gauges
from reconciler.web.metrics.feed import FollowedNamespace
from tests.support.factories import row
from tests.support.passes.feeding import FeedBench, left

INTERVAL = timedelta(seconds=5)
WATCHED = FollowedNamespace("default", lateness=timedelta())


@pytest.fixture
async def bench() -> FeedBench:
    bench = FeedBench()
    await bench.warm()
    return bench


def seconds(number: float) -> timedelta:
    return timedelta(seconds=number)


def shown(bench: FeedBench) -> FollowedNamespace:
    [namespace] = feed_gauges(bench.feed, INTERVAL).followed
    return namespace


def test_without_a_feed_only_the_interval_is_known() -> None:
    gauges = feed_gauges(None, INTERVAL)

    assert (gauges.interval, [*gauges.followed]) == (INTERVAL, [])


async def test_the_lag_counts_from_the_start_of_a_complete_poll(bench: FeedBench) -> None:
    await bench.poll()
    bench.now += seconds(3)
    assert shown(bench) == replace(WATCHED, lag=seconds(3))

    bench.closings.errors["default"] = TemporalUnusable("away")
    with pytest.raises(Unusable):
        await bench.poll(after=2)
    assert shown(bench).lag == seconds(5)


async def test_a_feed_that_has_never_been_polled_lags_since_it_should_have_been() -> None:
    bench = FeedBench()
    bench.closings.errors["default"] = TemporalUnusable("away")
    with pytest.raises(Unusable):
        await bench.poll(after=5)

    assert shown(bench).lag == seconds(5)


async def test_the_mark_is_that_of_the_last_closing_until_a_row_holds_it_back(
    bench: FeedBench,
) -> None:
    young = row(1, workflow_id="young")
    bench.outside.rows = [young]
    bench.outside.verdicts[1] = left(young, LeaveReason.TOO_YOUNG)
    bench.close("of another application")
    await bench.poll(after=5)
    assert (shown(bench).mark_age, shown(bench).late) == (seconds(5), 1)

    bench.close("young")
    bench.now += seconds(1)
    bench.close("a third")
    await bench.poll(after=2)
    assert (shown(bench).mark_age, shown(bench).pending) == (seconds(3), 1)


async def test_lateness_is_shown(bench: FeedBench) -> None:
    await bench.poll()
    bench.close("late")
    late = bench.closings.closed["default", CloseStatus.TERMINATED].pop()
    bench.now += seconds(2)
    bench.close("in time")
    await bench.poll(after=0)
    bench.closings.closed["default", CloseStatus.TERMINATED].append(late)
    await bench.poll(after=1)

    assert shown(bench).lateness == seconds(2)


async def test_a_feed_that_is_off_has_no_lag(bench: FeedBench) -> None:
    bench.closings.errors["default"] = FeedOff("not sorted")
    await bench.poll()

    assert shown(bench) == FollowedNamespace("default", is_off=True)
