"""What of a round is due, and when the next one begins."""

from __future__ import annotations

import math
import sys
from datetime import UTC, datetime, timedelta
from itertools import pairwise

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from reconciler.core.report.sweep import Rest, Swept, Turn, next_turn

NOW = datetime(2026, 1, 31, 12, tzinfo=UTC)
INTERVAL = timedelta(minutes=10)
SECOND = timedelta(seconds=1)
REST = Rest(5, 9)


class Table:
    """As many rows as ever, described in the order of their numbers."""

    def __init__(self, rows: int, rps: float = math.inf) -> None:
        self.rows, self.rps = rows, rps
        self.swept = Swept(NOW, NOW)
        self.described: list[list[datetime]] = [[NOW] for _ in range(rows)]
        self.counts: list[int] = []

    def pass_(self, now: datetime, late: timedelta = timedelta()) -> None:
        turn = next_turn(self.swept, now, INTERVAL)
        done = self.swept.described
        due, owed = turn.quota(self.rows - done, self.rps)
        for row in range(done, done + due):
            self.described[row].append(now + late)
        self.counts.append(due)
        if done + due == self.rows:
            self.swept = Swept(now, turn.next_round(now))
        else:
            self.swept = Swept(now, turn.round_began, REST, done + due, owed=owed)

    @property
    def longest_wait(self) -> timedelta:
        pairs = (pair for times in self.described for pair in pairwise(times))
        return max(after - before for before, after in pairs)


@given(st.floats(min_value=1, max_value=199), st.integers(1, 300), st.floats(0, 1))
@example(every=1.11, rows=220, late=0)
def test_no_row_waits_longer_than_the_interval(every: float, rows: int, late: float) -> None:
    """Even a row at the end of a pass that takes as long as the distance between passes."""
    table, now, distance = Table(rows), NOW, every * SECOND
    while now < NOW + 4 * INTERVAL:
        now += distance
        table.pass_(now, late * distance)

    assert min(len(times) for times in table.described) >= 4
    assert table.longest_wait <= INTERVAL


def test_each_pass_describes_an_equal_share() -> None:
    table = Table(2000)
    for number in range(1, 33):
        table.pass_(NOW + 30 * number * SECOND)

    assert set(table.counts) == {125}, "a sixteenth in each, and nobody twice in a round"
    assert {len(times) for times in table.described} == {3}


def test_no_row_waits_longer_if_a_pass_is_late_now_and_then() -> None:
    table, now = Table(200), NOW
    while now < NOW + 4 * INTERVAL:
        for distance in [*[10] * 58, 60]:
            now += distance * SECOND
            table.pass_(now)

    assert table.longest_wait <= INTERVAL


def test_a_fraction_of_a_row_is_owed_to_the_next_pass() -> None:
    turn = next_turn(Swept(NOW - 60 * SECOND, NOW - 60 * SECOND, owed=0.5), NOW, INTERVAL)

    assert turn.quota(10, math.inf) == (1, 0.75)
    assert turn.quota(100, rps=0.1) == (6, 0), "more than that is left to the rate"


def test_a_pass_after_one_that_failed_makes_up_for_it() -> None:
    last = Swept(NOW - 30 * SECOND, NOW - 30 * SECOND)

    turn = next_turn(last, NOW + 30 * SECOND, INTERVAL)

    assert turn.share == pytest.approx(60 / 480)
    assert turn.quota(480, math.inf)[0] == 60


def test_the_rate_makes_rounds_longer_and_all_passes_equal() -> None:
    table, now = Table(3000, rps=2.5), NOW
    for _ in range(80):
        now += 30 * SECOND
        table.pass_(now)

    assert set(table.counts) == {75}
    assert table.longest_wait == 3000 / 2.5 * SECOND


def test_at_a_low_rate_frequent_passes_still_get_on() -> None:
    turn = next_turn(Swept(NOW - SECOND, NOW - INTERVAL, REST), NOW, INTERVAL)

    assert turn.quota(100, rps=0.25) == (1, 0)


def test_a_round_that_ended_late_does_not_delay_the_next() -> None:
    began = NOW - 490 * SECOND
    turn = next_turn(Swept(NOW - 20 * SECOND, began, REST), NOW, INTERVAL)

    assert (turn.share, turn.next_round(NOW)) == (1, began + 480 * SECOND)


def test_a_round_that_ended_long_after_its_schedule_leaves_no_more_to_catch_up_than_one_pass() -> (
    None
):
    turn = next_turn(Swept(NOW - 20 * SECOND, NOW - 9 * INTERVAL, REST), NOW, INTERVAL)

    assert turn.next_round(NOW) == NOW - 20 * SECOND


def test_the_first_pass_of_a_round_describes_what_is_due_since_it_began() -> None:
    """By the schedule, which may be before the pass that ended the round before."""
    last = Swept(NOW - 20 * SECOND, NOW - 30 * SECOND)

    assert next_turn(last, NOW, INTERVAL).share == pytest.approx(30 / 480)


def test_a_round_that_ended_early_is_followed_by_the_next() -> None:
    turn = next_turn(Swept(NOW - 20 * SECOND, NOW - 20 * SECOND), NOW, INTERVAL)

    assert turn.next_round(NOW) == NOW


@pytest.mark.parametrize(
    ("last", "why"),
    [
        (None, "nothing is known of a pass before"),
        (Swept(NOW - timedelta(minutes=4), NOW), "the next pass may be too late for some"),
        (Swept(NOW - timedelta(days=4), NOW), "the last pass is long ago"),
        (Swept(NOW, NOW), "two passes at the same time"),
        (Swept(NOW + SECOND, NOW + SECOND, REST), "clocks differ"),
    ],
)
def test_in_doubt_no_row_may_wait(last: Swept | None, why: str) -> None:
    assert not next_turn(last, NOW, INTERVAL).is_certain, why


def test_passes_at_a_distance_are_certain() -> None:
    assert next_turn(Swept(NOW - 30 * SECOND, NOW), NOW, INTERVAL).is_certain


def test_without_an_interval_no_row_may_wait() -> None:
    assert not next_turn(Swept(NOW - 30 * SECOND, NOW), NOW, timedelta()).is_certain


@pytest.mark.parametrize(
    "last",
    [
        None,
        Swept(NOW, NOW),
        Swept(NOW + 30 * SECOND, NOW + 30 * SECOND, REST),
        Swept(NOW + 30 * SECOND, NOW - INTERVAL / 2, REST),
    ],
)
def test_of_a_stretch_nothing_is_due_before_some_time_has_passed(last: Swept | None) -> None:
    turn = next_turn(last, NOW, INTERVAL)

    assert turn.quota(1000, math.inf) == (0, 0)
    assert turn.round_began <= NOW


def test_a_stretch_of_rare_passes_is_all_that_is_left() -> None:
    turn = next_turn(Swept(NOW - timedelta(days=1), NOW - timedelta(days=1)), NOW, INTERVAL)

    assert turn.quota(1000, math.inf) == (1000, 0)


@given(st.floats(1e-6, 1), st.floats(0.01, 1e4), st.integers(0, 10**7))
def test_rows_beyond_what_is_counted_change_nothing(share: float, rps: float, more: int) -> None:
    turn = Turn(NOW, 30 * SECOND, INTERVAL, share)
    counted = turn.countable(rps)

    assert turn.countable(math.inf) == sys.maxsize
    assert turn.quota(counted, rps)[0] == turn.quota(counted + more, rps)[0]
