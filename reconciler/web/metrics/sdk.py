"""The metrics of the Temporal SDK, served on `/metrics` instead of an endpoint of its own."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field

from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    Metric,
)
from prometheus_client.registry import Collector
from temporalio.runtime import BUFFERED_METRIC_KIND_COUNTER as COUNTER
from temporalio.runtime import BUFFERED_METRIC_KIND_GAUGE as GAUGE
from temporalio.runtime import BufferedMetric, BufferedMetricUpdate

#: Seconds. A call takes milliseconds, and is given up after ten seconds.
BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)

_Labels = tuple[tuple[str, str], ...]


@dataclass(slots=True)
class _Series:
    total: float = 0.0
    counts: list[int] = field(default_factory=lambda: [0] * (len(BUCKETS) + 1))


class SdkMetrics(Collector):
    """Adds up what the SDK reports. `drain` must be called every few seconds."""

    def __init__(self, retrieve: Callable[[], Iterable[BufferedMetricUpdate]]) -> None:
        self._retrieve = retrieve
        self._metrics: dict[str, tuple[BufferedMetric, dict[_Labels, _Series]]] = {}

    def drain(self) -> None:
        """Fetch the updates so far; the SDK drops those that are not fetched in time."""
        for update in self._retrieve():
            metric, value = update.metric, update.value
            _, by_labels = self._metrics.setdefault(metric.name, (metric, {}))
            labels = tuple(sorted((name, str(text)) for name, text in update.attributes.items()))
            series = by_labels.setdefault(labels, _Series())
            series.total = value if metric.kind == GAUGE else series.total + value
            series.counts[bisect_left(BUCKETS, value)] += 1

    def collect(self) -> Iterator[Metric]:
        """Everything so far."""
        self.drain()
        for metric, by_labels in self._metrics.values():
            names = sorted({name for labels in by_labels for name, _ in labels})
            yield _family(metric, names, by_labels)


def _family(metric: BufferedMetric, names: Sequence[str], all_: dict[_Labels, _Series]) -> Metric:
    help_text = metric.description or metric.name
    if metric.kind == COUNTER:
        counter = CounterMetricFamily(metric.name, help_text, labels=names)
        for labels, series in all_.items():
            counter.add_metric(_values(labels, names), series.total)
        return counter
    if metric.kind == GAUGE:
        gauge = GaugeMetricFamily(metric.name, help_text, labels=names)
        for labels, series in all_.items():
            gauge.add_metric(_values(labels, names), series.total)
        return gauge
    unit = "_seconds" if metric.unit == "s" else ""
    histogram = HistogramMetricFamily(metric.name + unit, help_text, labels=names)
    for labels, series in all_.items():
        histogram.add_metric(_values(labels, names), list(_cumulative(series)), series.total)
    return histogram


def _values(labels: _Labels, names: Sequence[str]) -> list[str]:
    given = dict(labels)
    return [given.get(name, "") for name in names]


def _cumulative(series: _Series) -> Iterator[tuple[str, float]]:
    total = 0
    for bound, count in zip([*map(str, BUCKETS), "+Inf"], series.counts, strict=True):
        total += count
        yield bound, total
