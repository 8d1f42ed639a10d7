"""What went wrong, with its time."""

from __future__ import annotations

from datetime import timedelta

from reconciler.app.overview.model import DatedError
from reconciler.daemon.record import LoopRecord
from tests.support.factories import NOW


def test_the_last_error_of_each_kind_is_kept_newest_first() -> None:
    time = NOW
    record = LoopRecord(clock=lambda: time)
    record.failed("pass", "first")
    record.failed("feed", "away")
    time += timedelta(seconds=5)
    record.failed("pass", "second")

    assert record.errors == [
        DatedError(time, "pass", "second"),
        DatedError(NOW, "feed", "away"),
    ]
    assert record.last_error("lease") is None


def test_how_long_something_has_failed_counts_until_it_works() -> None:
    time = NOW
    record = LoopRecord(clock=lambda: time)
    record.failed("Temporal", "away")
    time += timedelta(seconds=5)
    record.failed("Temporal", "still away")
    assert record.failing_since("Temporal") == NOW

    record.works("Temporal")
    assert record.failing_since("Temporal") is None
    assert record.last_error("Temporal") == DatedError(time, "Temporal", "still away")
    record.failed("Temporal", "away again")
    assert record.failing_since("Temporal") == time
