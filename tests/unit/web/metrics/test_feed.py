"""The state of the feed as series."""

from __future__ import annotations

from datetime import timedelta

from prometheus_client import CollectorRegistry, generate_latest

from reconciler.web.metrics.feed import FeedCollector, FeedGauges, FollowedNamespace
from tests.support.hostile import HOSTILE, unseen

SECOND = timedelta(seconds=1)


def scraped(gauges: FeedGauges) -> CollectorRegistry:
    registry = CollectorRegistry()
    registry.register(FeedCollector(lambda: gauges))
    return registry


def test_each_namespace_has_series_of_its_own() -> None:
    shop = FollowedNamespace("shop", False, 2, 3 * SECOND, 4 * SECOND, 5 * SECOND, 6, 7)
    bank = FollowedNamespace("bank", is_off=True)
    registry = scraped(FeedGauges(5 * SECOND, [shop, bank]))

    def value(name: str, namespace: str, **labels: str) -> float | None:
        labels["temporal_namespace"] = namespace
        return registry.get_sample_value(f"reconciler_feed_{name}", labels)

    assert registry.get_sample_value("reconciler_feed_interval_seconds") == 5
    assert [value("off", each) for each in ("shop", "bank")] == [0, 1]
    assert [value("behind_total", each) for each in ("shop", "bank")] == [2, 0]
    assert [value("lag_seconds", each) for each in ("shop", "bank")] == [3, None]
    assert [value("lateness_seconds", each) for each in ("shop", "bank")] == [4, None]
    assert [value("mark_age_seconds", each) for each in ("shop", "bank")] == [5, None]
    assert value("closings", "shop", state="pending") == 6
    assert value("closings", "shop", state="late") == 7


def test_a_standby_shows_the_interval_alone() -> None:
    registry = scraped(FeedGauges(timedelta()))

    samples = [sample.name for family in registry.collect() for sample in family.samples]
    assert samples == ["reconciler_feed_interval_seconds"]


def test_names_are_safe_to_print_on_a_terminal() -> None:
    registry = scraped(FeedGauges(SECOND, [FollowedNamespace(HOSTILE)]))

    assert unseen(generate_latest(registry).decode()) == set()
