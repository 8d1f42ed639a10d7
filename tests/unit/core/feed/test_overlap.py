from __future__ import annotations

from datetime import timedelta

import pytest

from reconciler.core.feed.overlap import Overlap
from tests.support.factories import NOW


def at(seconds: float) -> timedelta:
    return timedelta(seconds=seconds)


def polls(overlap: Overlap, seconds: range, lateness: float = 0) -> dict[int, tuple[float, int]]:
    """Poll at these seconds after NOW; overlap in seconds and pages of those that list deeper."""
    deeper = {}
    for second in seconds:
        reach = overlap.depth(NOW + at(second), at(lateness))
        overlap.polled(NOW + at(second))
        if reach.pages < 20:
            deeper[second] = (reach.overlap.total_seconds(), reach.pages)
    return deeper


def test_some_polls_list_deeper_with_fewer_pages() -> None:
    deeper = polls(Overlap(NOW, NOW), range(0, 605, 5))

    assert {second: reach for second, reach in deeper.items() if reach != (60, 10)} == {
        300: (600, 10),
        600: (600, 10),
    }
    assert list(deeper) == list(range(30, 605, 30))


@pytest.mark.parametrize(
    ("lateness", "overlap"), [(0, 5), (2, 5), (4, 8), (29, 58), (31, 60), (9999, 60)]
)
def test_the_overlap_is_twice_the_lateness(lateness: float, overlap: float) -> None:
    assert Overlap(NOW, NOW).depth(NOW, at(lateness)).overlap == at(overlap)


@pytest.mark.parametrize(("lateness", "overlap"), [(0, 60), (40, 80), (9999, 600)])
def test_of_deeper_lists_too(lateness: float, overlap: float) -> None:
    assert polls(Overlap(NOW, NOW), range(30, 31), lateness) == {30: (overlap, 10)}


def test_a_poll_that_fails_is_no_deep_one() -> None:
    overlap = Overlap(NOW, NOW)
    overlap.depth(NOW + at(300), at(0))
    overlap.failed()

    assert list(polls(overlap, range(301, 303))) == [302]


def test_after_an_outage_deeper_lists_reach_back_to_before_it() -> None:
    overlap = Overlap(NOW, NOW)
    polls(overlap, range(101))
    overlap.failed()
    overlap.failed()

    deeper = polls(overlap, range(1100, 1500))  # the outage: 1000 s; felt for 100 s + 5 minutes

    assert list(deeper) == list(range(1101, 1500, 30))
    assert {second - reach for second, (reach, _) in deeper.items()} == {100 - 60}


def test_an_outage_is_forgotten_when_its_closings_have_been_shown() -> None:
    overlap = Overlap(NOW, NOW)
    polls(overlap, range(101))
    overlap.failed()
    polls(overlap, range(1100, 1530))

    assert set(polls(overlap, range(1540, 1600)).values()) <= {(60, 10), (600, 10)}


def test_what_a_coming_poll_may_list_is_known_when_an_outage_ends() -> None:
    overlap = Overlap(NOW, NOW)
    overlap.failed()
    deepest = overlap.depth(NOW + at(1000), at(0)).deepest
    overlap.polled(NOW + at(1000))

    deeper = polls(overlap, range(1001, 2000, 5))

    assert max(reach for reach, _ in deeper.values()) <= deepest.total_seconds()
    assert overlap.depth(NOW + at(2000), at(0)).deepest == at(600)


def test_an_outage_may_have_begun_before_the_process_did() -> None:
    overlap = Overlap(NOW, polled_at=NOW - at(500))
    overlap.failed()
    polls(overlap, range(100, 101))

    assert polls(overlap, range(101, 102)) == {101: (101 + 500 + 60, 10)}
