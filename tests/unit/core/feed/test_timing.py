from __future__ import annotations

from datetime import timedelta

from reconciler.core.feed.timing import Lateness, Skew
from tests.support.factories import NOW


def at(seconds: float) -> timedelta:
    return timedelta(seconds=seconds)


def test_the_largest_lateness_counts_for_ten_minutes() -> None:
    lateness = Lateness()
    assert lateness.largest == at(0)
    lateness.observe(at(9), NOW)
    lateness.observe(at(3), NOW + at(60))
    lateness.observe(at(5), NOW + at(120))

    seen = []
    for seconds in (600, 601, 720, 721):
        lateness.forget(NOW + at(seconds))
        seen.append(lateness.largest)

    assert seen == [at(9), at(5), at(5), at(0)]


def test_the_skew_is_the_median_of_the_latest_closings() -> None:
    skew = Skew()
    for seconds in (7, 7, 7, -999):
        skew.observe(NOW + at(seconds), NOW)
    assert skew.value == at(0)  # too few to judge by

    skew.observe(NOW + at(7), NOW)
    assert skew.value == at(7)

    for _ in range(30):
        skew.observe(NOW - at(4), NOW)
    assert skew.value == at(-4)
