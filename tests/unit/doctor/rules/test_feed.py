"""What the doctor says about the closings feed."""

from __future__ import annotations

from datetime import timedelta

import pytest

from reconciler.core.errors import FeedOff
from reconciler.doctor.findings import Level
from reconciler.doctor.rules.feed import feed, feed_off

SECOND = timedelta(seconds=1)
LIMITS = {"RECONCILER_VISIBILITY_RPS": 5.0, "RECONCILER_MAX_RPS": 100.0}


@pytest.mark.parametrize(
    ("namespaces", "interval", "limits"),
    [
        pytest.param(1, SECOND, LIMITS, id="just enough"),
        pytest.param(5, 5 * SECOND, LIMITS, id="several namespaces"),
        pytest.param(99, SECOND, dict.fromkeys(LIMITS, 0.0), id="no limits"),
    ],
)
def test_polls_that_are_as_frequent_as_they_should(
    namespaces: int, interval: timedelta, limits: dict[str, float]
) -> None:
    (found,) = feed({str(n): None for n in range(namespaces)}, interval, limits)

    assert found.level is Level.OK


@pytest.mark.parametrize(
    ("limits", "fix"),
    [
        (LIMITS, "raise RECONCILER_VISIBILITY_RPS to 15, or RECONCILER_FEED_INTERVAL to 3s"),
        (
            LIMITS | {"RECONCILER_MAX_RPS": 2.0},
            "raise RECONCILER_MAX_RPS to 15, or RECONCILER_FEED_INTERVAL to 8s",
        ),
    ],
)
def test_polls_that_take_longer_than_their_interval(limits: dict[str, float], fix: str) -> None:
    (found,) = feed(dict.fromkeys("abc"), SECOND, limits)

    assert (found.level, found.fix) == (Level.WARNING, fix)
    assert found.message.startswith("a poll of 15 list calls takes ")


def test_each_namespace_that_cannot_be_listed() -> None:
    off = FeedOff("visibility lists run 'r' without a close time")

    (found,) = feed({"good": None, "bad": off}, 5 * SECOND, LIMITS)

    assert found.level is Level.WARNING
    assert found.message == f"`run` cannot follow what closes in namespace 'bad': {off.problem}"
    assert "passes over every row" in found.fix


def test_an_interval_of_zero_is_fine() -> None:
    assert feed_off().level is Level.OK
