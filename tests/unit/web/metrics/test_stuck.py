"""The stuck rows as series."""

from __future__ import annotations

from datetime import timedelta

from prometheus_client import CollectorRegistry, generate_latest

from reconciler.core.stuck.condition import Reason
from reconciler.web.metrics.stuck import StuckCollector, StuckGauges
from tests.support.factories import NOW

HOUR = timedelta(hours=1)


def scraped(gauges: StuckGauges) -> CollectorRegistry:
    registry = CollectorRegistry()
    registry.register(StuckCollector(lambda: gauges))
    return registry


def test_every_reason_but_waiting_has_a_series_from_the_first_pass() -> None:
    retrying, paused = (3, NOW - 2 * HOUR), (1, NOW + HOUR)
    counted = {Reason.ACTIVITY_RETRYING: retrying, Reason.PAUSED: paused}
    registry = scraped(StuckGauges(NOW, counted))

    def value(name: str, reason: Reason) -> float | None:
        return registry.get_sample_value(f"reconciler_{name}", {"reason": reason.value})

    rows = {reason: value("open_rows", reason) for reason in Reason}
    assert rows.pop(Reason.WAITING) is None
    assert {reason: count for reason, count in rows.items() if count} == {
        Reason.ACTIVITY_RETRYING: 3,
        Reason.PAUSED: 1,
    }
    assert None not in rows.values()
    oldest = {reason: value("stuck_oldest_seconds", reason) for reason in Reason}
    assert {reason: age for reason, age in oldest.items() if age is not None} == {
        Reason.ACTIVITY_RETRYING: 7200,
        Reason.PAUSED: 0,  # by another clock
    }


def test_there_is_none_before_and_on_a_standby() -> None:
    shown = generate_latest(scraped(StuckGauges(NOW))).decode()

    assert "\nreconciler_" not in shown
