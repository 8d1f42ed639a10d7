"""One scrape of several targets: the series of each carry its name, and are never mixed."""

from __future__ import annotations

from datetime import timedelta

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.parser import text_string_to_metric_families

from reconciler.daemon.health import Health
from reconciler.daemon.schedule import Every
from reconciler.web.metrics.targets import TargetsCollector, process_registry


def target(rows: int) -> CollectorRegistry:
    registry = CollectorRegistry()
    Counter("rows", "Rows.", ["status"], registry=registry).labels("failed").inc(rows)
    Gauge("age", "Age.", registry=registry).set(rows)
    Histogram("wait_seconds", "Wait.", buckets=(1, 2), registry=registry).observe(rows)
    return registry


def merged(**targets: CollectorRegistry) -> str:
    registry = CollectorRegistry()
    registry.register(TargetsCollector(targets))
    return generate_latest(registry).decode()


def test_every_type_of_metric_carries_the_name_of_its_target() -> None:
    process_registry()  # which turns the times of creation off
    text = merged(orders=target(1), exports=target(2))

    assert text.split("\n") == [
        "# HELP rows_total Rows.",
        "# TYPE rows_total counter",
        'rows_total{status="failed",target="orders"} 1.0',
        'rows_total{status="failed",target="exports"} 2.0',
        "# HELP age Age.",
        "# TYPE age gauge",
        'age{target="orders"} 1.0',
        'age{target="exports"} 2.0',
        "# HELP wait_seconds Wait.",
        "# TYPE wait_seconds histogram",
        'wait_seconds_bucket{le="1.0",target="orders"} 1.0',
        'wait_seconds_bucket{le="2.0",target="orders"} 1.0',
        'wait_seconds_bucket{le="+Inf",target="orders"} 1.0',
        'wait_seconds_count{target="orders"} 1.0',
        'wait_seconds_sum{target="orders"} 1.0',
        'wait_seconds_bucket{le="1.0",target="exports"} 0.0',
        'wait_seconds_bucket{le="2.0",target="exports"} 1.0',
        'wait_seconds_bucket{le="+Inf",target="exports"} 1.0',
        'wait_seconds_count{target="exports"} 1.0',
        'wait_seconds_sum{target="exports"} 2.0',
        "",
    ]


def test_a_metric_that_only_one_target_has_so_far() -> None:
    text = merged(orders=CollectorRegistry(), exports=target(2))

    assert 'age{target="exports"} 2.0' in text
    assert "orders" not in text


def test_what_is_about_the_process_has_no_target() -> None:
    registry, health = process_registry(), Health(Every(timedelta(seconds=30)), CollectorRegistry())
    registry.register(TargetsCollector({"orders": health.registry}))
    text = generate_latest(registry).decode()

    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            is_process = family.name.startswith(("process_", "python_", "reconciler_build"))
            assert sample.labels.get("target") == (None if is_process else "orders"), sample
