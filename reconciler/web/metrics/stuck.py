"""How many rows are stuck, and for how long, read for each scrape."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime

from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from reconciler.core.stuck.condition import Reason


@dataclass(frozen=True, slots=True)
class StuckGauges:
    """What the last pass of this process has counted."""

    #: By the clock of the times.
    now: datetime
    #: How many rows are stuck by reason, and since when the oldest is. None: no pass has counted.
    by_reason: Mapping[Reason, tuple[int, datetime]] | None = None


class StuckCollector(Collector):
    """Turns `StuckGauges` into metrics; a series for each reason once a pass has counted."""

    def __init__(self, read: Callable[[], StuckGauges]) -> None:
        self._read = read

    def collect(self) -> Iterator[Metric]:
        """One reading."""
        gauges = self._read()
        rows = GaugeMetricFamily(
            "reconciler_open_rows",
            "Running rows whose workflows are open and not healthy, by reason.",
            labels=["reason"],
        )
        oldest = GaugeMetricFamily(
            "reconciler_stuck_oldest_seconds",
            "For how long the oldest of them has been stuck.",
            labels=["reason"],
        )
        if gauges.by_reason is not None:
            for reason in (each for each in Reason if not each.is_healthy):
                count, since = gauges.by_reason.get(reason, (0, None))
                rows.add_metric([reason], count)
                if since is not None:
                    oldest.add_metric([reason], max(0.0, (gauges.now - since).total_seconds()))
        yield from (rows, oldest)
