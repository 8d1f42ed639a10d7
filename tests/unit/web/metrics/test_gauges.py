"""The present state as series."""

from __future__ import annotations

import pytest
from prometheus_client import CollectorRegistry

from reconciler.web.metrics.gauges import Gauges, GaugesCollector


@pytest.mark.parametrize("undecoded", [None, 0, 3])
def test_undecoded_failures_are_counted_if_there_is_a_decoder(
    undecoded: int | None,
) -> None:
    registry = CollectorRegistry()
    registry.register(GaugesCollector(lambda: Gauges(undecoded=undecoded)))

    assert registry.get_sample_value("reconciler_undecoded_failures_total") == undecoded
