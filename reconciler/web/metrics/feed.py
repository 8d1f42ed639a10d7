"""The present state of the closings feed, read for each scrape."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import timedelta

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from reconciler.core.text import visible
from reconciler.web.metrics.gauges import gauge

#: Not `namespace`: in Kubernetes, Prometheus has a label of that name for all targets.
NAMESPACE = "temporal_namespace"


@dataclass(frozen=True, slots=True)
class FollowedNamespace:
    """The feed of one namespace."""

    name: str
    #: Whether it is left alone for an hour, because visibility refuses, or does not sort.
    is_off: bool = False
    #: How often there were too many closings to catch up with.
    fell_behind: int = 0
    #: Since the last complete poll began; None while it is off.
    lag: timedelta | None = None
    #: The largest of the last ten minutes; None if nothing is remembered.
    lateness: timedelta | None = None
    #: Since the last closing up to which all are dealt with; None if there is none.
    mark_age: timedelta | None = None
    #: Workflow ids whose rows need a look.
    pending: int = 0
    #: Workflow ids without a running row, looked up again as it may be committed.
    late: int = 0


@dataclass(frozen=True, slots=True)
class FeedGauges:
    """What the feed of this process knows at the moment."""

    #: Between two polls; zero if there is no feed, None while the settings are not known.
    interval: timedelta | None = None
    #: Empty on standby.
    followed: Sequence[FollowedNamespace] = ()


class FeedCollector(Collector):
    """Turns `FeedGauges` into metrics."""

    def __init__(self, read: Callable[[], FeedGauges]) -> None:
        self._read = read

    def collect(self) -> Iterator[Metric]:
        """One reading."""
        now = self._read()
        yield gauge(
            "reconciler_feed_interval_seconds",
            "Between two polls of the feed; 0: there is none.",
            now.interval,
        )
        yield _seconds(
            "reconciler_feed_lag_seconds",
            "Since the last complete poll of the feed began.",
            [(each.name, each.lag) for each in now.followed],
        )
        yield _seconds(
            "reconciler_feed_lateness_seconds",
            "By how much visibility showed a closing after a later one, at most in ten minutes.",
            [(each.name, each.lateness) for each in now.followed],
        )
        yield _seconds(
            "reconciler_feed_mark_age_seconds",
            "Since the last closing up to which all are dealt with.",
            [(each.name, each.mark_age) for each in now.followed],
        )
        closings = GaugeMetricFamily(
            "reconciler_feed_closings",
            "Workflow ids that the feed will look up again, by why.",
            labels=[NAMESPACE, "state"],
        )
        off = GaugeMetricFamily(
            "reconciler_feed_off", "1 if visibility cannot be followed.", labels=[NAMESPACE]
        )
        behind = CounterMetricFamily(
            "reconciler_feed_behind", "Times that too much had closed.", labels=[NAMESPACE]
        )
        for each in now.followed:
            name = visible(each.name)
            closings.add_metric([name, "pending"], each.pending)
            closings.add_metric([name, "late"], each.late)
            off.add_metric([name], each.is_off)
            behind.add_metric([name], each.fell_behind)
        yield from (closings, off, behind)


def _seconds(
    name: str, help_text: str, values: Sequence[tuple[str, timedelta | None]]
) -> GaugeMetricFamily:
    family = GaugeMetricFamily(name, help_text, labels=[NAMESPACE])
    for namespace, value in values:
        if value is not None:
            family.add_metric([visible(namespace)], value.total_seconds())
    return family
