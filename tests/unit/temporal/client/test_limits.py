"""Which limits are in force where targets share a namespace."""

from __future__ import annotations

from typing import Any

import pytest
from structlog.testing import capture_logs

from reconciler.temporal.client.connect import Connections, Route


def route(target: str, max_rps: float, address: str = "a:7233", **given: Any) -> Route:
    visibility_rps = given.pop("visibility_rps", 5)
    return Route({"target_host": address, **given}, max_rps, visibility_rps, target)


def in_force(routes: list[Route]) -> tuple[list[tuple[float, float]], list[Any]]:
    with capture_logs() as lines:
        connections = Connections(routes)
    limits = [connections.limits(each) for each in routes]
    return [(each.calls.rate, each.lists.rate) for each in limits], lines


@pytest.mark.parametrize(
    ("limits", "lowest"),
    [([100, 10, 50], 10), ([0, 10], 10), ([0, 0], float("inf")), ([7, 7], 7)],
)
def test_the_lowest_limit_of_a_namespace_counts(limits: list[float], lowest: float) -> None:
    found, _ = in_force([route(f"t{at}", rps) for at, rps in enumerate(limits)])

    assert {calls for calls, _ in found} == {lowest}


def test_a_difference_is_logged_once_with_the_targets() -> None:
    routes = [route("orders", 100), route("exports", 0, visibility_rps=2), route("mail", 100)]

    found, lines = in_force(routes)

    assert found == [(100, 2)] * 3
    assert [line["setting"] for line in lines] == [
        "RECONCILER_VISIBILITY_RPS",
        "RECONCILER_MAX_RPS",
    ]
    assert [line["in_force"] for line in lines] == [2, 100]
    assert lines[1]["targets"] == "orders 100, exports 0, mail 100"


def test_equal_limits_and_those_of_other_namespaces_are_not_mentioned() -> None:
    routes = [
        route("one", 10),
        route("same", 10, namespace="default", rpc_metadata={"tenant": "other"}),
        route("namespace", 20, namespace="other"),
        route("address", 30, "b:7233"),
        route("upper", 30, "B:7233"),
    ]

    found, lines = in_force(routes)

    assert ([calls for calls, _ in found], lines) == ([10, 10, 20, 30, 30], [])
