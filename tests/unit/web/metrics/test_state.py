"""How things stand, as series."""

from __future__ import annotations

import pytest
from prometheus_client import CollectorRegistry

from reconciler.web.metrics.state import State, StateCollector


@pytest.mark.parametrize("undecoded", [None, 0, 3])
def test_failures_that_could_not_be_decoded_are_counted_where_any_is_to_be(
    undecoded: int | None,
) -> None:
    registry = CollectorRegistry()
    registry.register(StateCollector(lambda: State(undecoded=undecoded)))

    assert registry.get_sample_value("reconciler_undecoded_failures_total") == undecoded
