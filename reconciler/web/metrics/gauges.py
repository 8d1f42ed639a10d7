"""The present state of the loop, read for each scrape."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector


@dataclass(frozen=True, slots=True)
class Gauges:
    """What the loop knows at the moment; None where it does not know yet."""

    lease_held: bool = False
    interval: timedelta | None = None
    last_good_pass: datetime | None = None
    retention: timedelta | None = None
    #: The limit in force, in calls to Temporal per second; infinite if there is none.
    rate: float | None = None
    #: Calls to Temporal so far, by kind and code.
    calls: Mapping[tuple[str, str], int] = field(default_factory=dict)
    #: Failures that could not be decoded so far; None without a decoder.
    undecoded: int | None = None
    #: How far this host's clock is ahead of the database's.
    clock_skew: timedelta | None = None


class GaugesCollector(Collector):
    """Turns `Gauges` into metrics."""

    def __init__(self, read: Callable[[], Gauges]) -> None:
        self._read = read

    def collect(self) -> Iterator[Metric]:
        """One reading."""
        now = self._read()
        yield gauge("reconciler_lease_held", "1 on the replica that passes.", now.lease_held)
        yield gauge("reconciler_interval_seconds", "Between two passes.", now.interval)
        yield gauge(
            "reconciler_last_good_pass_timestamp_seconds",
            "When a pass last came to its end, on whichever replica.",
            None if now.last_good_pass is None else now.last_good_pass.timestamp(),
        )
        yield gauge(
            "reconciler_retention_seconds",
            "How long Temporal keeps a closed workflow of the namespace.",
            now.retention,
        )
        yield gauge("reconciler_rate_limit_rps", "Calls to Temporal per second in force.", now.rate)
        yield gauge(
            "reconciler_clock_skew_seconds",
            "How far this host's clock is ahead of the database's; negative if it is behind.",
            now.clock_skew,
        )
        calls = CounterMetricFamily(
            "reconciler_rpcs", "Calls to Temporal.", labels=["method", "code"]
        )
        for (method, code), count in sorted(now.calls.items()):
            calls.add_metric([method, code], count)
        yield calls
        undecoded = CounterMetricFamily(
            "reconciler_undecoded_failures", "Failures that could not be decoded."
        )
        if now.undecoded is not None:
            undecoded.add_metric([], now.undecoded)
        yield undecoded


def gauge(name: str, help_text: str, value: float | timedelta | None) -> GaugeMetricFamily:
    """A gauge without labels; without a series if there is no value."""
    family = GaugeMetricFamily(name, help_text)
    if value is not None:
        family.add_metric([], value.total_seconds() if isinstance(value, timedelta) else value)
    return family
