"""How things stand now: read when somebody asks, not kept."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from reconciler import __version__


@dataclass(frozen=True, slots=True)
class State:
    """The daemon as it is; None for what it does not know yet."""

    lease_held: bool = False
    interval: timedelta | None = None
    last_good_pass: datetime | None = None
    retention: timedelta | None = None
    #: Calls to Temporal per second in force; infinite without a limit.
    rate: float | None = None
    #: Calls to Temporal so far, by kind and code.
    calls: Mapping[tuple[str, str], int] = field(default_factory=dict)
    #: Failures that could not be decoded so far; None if none is to be.
    undecoded: int | None = None
    #: How far this host's clock is ahead of the database's.
    clock_skew: timedelta | None = None


class StateCollector(Collector):
    """Turns `State` into gauges."""

    def __init__(self, read: Callable[[], State]) -> None:
        self._read = read

    def collect(self) -> Iterator[Metric]:
        """One reading."""
        state = self._read()
        build = GaugeMetricFamily("reconciler_build_info", "The version.", labels=["version"])
        build.add_metric([__version__], 1)
        yield build
        yield _gauge("reconciler_lease_held", "1 on the replica that passes.", state.lease_held)
        yield _gauge("reconciler_interval_seconds", "Between two passes.", state.interval)
        yield _gauge(
            "reconciler_last_good_pass_timestamp_seconds",
            "When a pass last came to its end, on whichever replica.",
            None if state.last_good_pass is None else state.last_good_pass.timestamp(),
        )
        yield _gauge(
            "reconciler_retention_seconds",
            "How long Temporal keeps a closed workflow of the namespace.",
            state.retention,
        )
        yield _gauge(
            "reconciler_rate_limit_rps", "Calls to Temporal per second in force.", state.rate
        )
        yield _gauge(
            "reconciler_clock_skew_seconds",
            "How far this host's clock is ahead of the database's; negative if it is behind.",
            state.clock_skew,
        )
        calls = CounterMetricFamily(
            "reconciler_rpcs", "Calls to Temporal.", labels=["method", "code"]
        )
        for (method, code), count in sorted(state.calls.items()):
            calls.add_metric([method, code], count)
        yield calls
        undecoded = CounterMetricFamily(
            "reconciler_undecoded_failures", "Failures that could not be decoded."
        )
        if state.undecoded is not None:
            undecoded.add_metric([], state.undecoded)
        yield undecoded


def _gauge(name: str, help_text: str, value: float | timedelta | None) -> GaugeMetricFamily:
    gauge = GaugeMetricFamily(name, help_text)
    if value is not None:
        gauge.add_metric([], value.total_seconds() if isinstance(value, timedelta) else value)
    return gauge
