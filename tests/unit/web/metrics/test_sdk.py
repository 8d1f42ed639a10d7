from __future__ import annotations

from dataclasses import dataclass, field

from prometheus_client import CollectorRegistry, generate_latest
from temporalio.runtime import (
    BUFFERED_METRIC_KIND_COUNTER,
    BUFFERED_METRIC_KIND_GAUGE,
    BUFFERED_METRIC_KIND_HISTOGRAM,
    BufferedMetricKind,
)

from reconciler.web.metrics.sdk import SdkMetrics


@dataclass(frozen=True)
class Metric:
    name: str
    kind: BufferedMetricKind
    unit: str | None = None
    description: str | None = "what it is"


@dataclass(frozen=True)
class Update:
    metric: Metric
    value: float
    attributes: dict[str, str] = field(default_factory=dict)


REQUESTS = Metric("temporal_request", BUFFERED_METRIC_KIND_COUNTER)
LATENCY = Metric("temporal_request_latency", BUFFERED_METRIC_KIND_HISTOGRAM, "s")
POLLERS = Metric("temporal_num_pollers", BUFFERED_METRIC_KIND_GAUGE)


def scrape(*drains: list[Update]) -> str:
    batches = [*drains]
    sdk = SdkMetrics(lambda: batches.pop(0) if batches else [])
    for _ in drains[1:]:
        sdk.drain()
    registry = CollectorRegistry()
    registry.register(sdk)
    return generate_latest(registry).decode()


def test_counters_add_up_over_drains() -> None:
    describe = {"operation": "Describe"}
    text = scrape(
        [Update(REQUESTS, 1, describe), Update(REQUESTS, 1, describe)],
        [Update(REQUESTS, 1, describe), Update(REQUESTS, 1, {"operation": "List"})],
    )

    assert 'temporal_request_total{operation="Describe"} 3.0' in text
    assert 'temporal_request_total{operation="List"} 1.0' in text


def test_gauges_are_the_last_value() -> None:
    assert "temporal_num_pollers 2.0" in scrape([Update(POLLERS, 5), Update(POLLERS, 2)])


def test_histograms_are_cumulative_and_named_with_their_unit() -> None:
    text = scrape([Update(LATENCY, value) for value in (0.0005, 0.001, 0.3, 99)])

    assert 'temporal_request_latency_seconds_bucket{le="0.001"} 2.0' in text
    assert 'temporal_request_latency_seconds_bucket{le="0.5"} 3.0' in text
    assert 'temporal_request_latency_seconds_bucket{le="+Inf"} 4.0' in text
    assert "temporal_request_latency_seconds_count 4.0" in text
    assert "temporal_request_latency_seconds_sum 99.3015" in text


def test_series_of_one_metric_may_have_different_labels() -> None:
    text = scrape([Update(REQUESTS, 1), Update(REQUESTS, 1, {"namespace": "default"})])

    assert 'temporal_request_total{namespace=""} 1.0' in text
    assert 'temporal_request_total{namespace="default"} 1.0' in text
