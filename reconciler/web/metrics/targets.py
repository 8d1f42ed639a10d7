"""The metrics of the process, and those of its targets, which carry the label `target`."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping

from prometheus_client import (
    CollectorRegistry,
    PlatformCollector,
    ProcessCollector,
    disable_created_metrics,
)
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from reconciler import __version__
from reconciler.web.metrics.gauges import gauge

TARGET = "target"


def process_registry() -> CollectorRegistry:
    """A registry with what is about the process as a whole."""
    # Otherwise each counter has a second series, which nobody reads.
    disable_created_metrics()  # type: ignore[no-untyped-call]
    registry = CollectorRegistry()
    ProcessCollector(registry=registry)
    PlatformCollector(registry=registry)
    registry.register(_Build())
    return registry


class TargetsCollector(Collector):
    """The metrics of each target, by its name: one family of each name for all of them."""

    def __init__(self, registries: Mapping[str, CollectorRegistry]) -> None:
        self._registries = registries

    def collect(self) -> Iterator[Metric]:
        """One reading."""
        merged: dict[str, Metric] = {}
        for target, registry in self._registries.items():
            for metric in registry.collect():
                family = merged.setdefault(metric.name, _without_samples(metric))
                family.samples += [
                    sample._replace(labels={TARGET: target, **sample.labels})
                    for sample in metric.samples
                ]
        yield from merged.values()


def _without_samples(metric: Metric) -> Metric:
    return Metric(metric.name, metric.documentation, metric.type, metric.unit)


class UpCollector(Collector):
    """Whether a target is served: its other series may not exist yet, or stand still."""

    def __init__(self, is_up: Callable[[], bool]) -> None:
        self._is_up = is_up

    def collect(self) -> Iterator[Metric]:
        """One reading."""
        help_text = "1 while its loop runs; 0 while it waits for a server, is rejected, or crashed."
        yield gauge("reconciler_target_up", help_text, self._is_up())


class _Build(Collector):
    def collect(self) -> Iterator[Metric]:
        build = GaugeMetricFamily("reconciler_build_info", "The version.", labels=["version"])
        build.add_metric([__version__], 1)
        yield build
