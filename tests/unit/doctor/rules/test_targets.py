"""What is wrong between targets."""

from __future__ import annotations

from reconciler.doctor.findings import Level
from reconciler.doctor.rules.targets import Limits, limits, rows

HERE, THERE = ("temporal:7233", "default"), ("temporal:7233", "other")


def limited(target: str, place: tuple[str, str], max_rps: float, lists: float = 5) -> Limits:
    return Limits(
        target, place, {"RECONCILER_VISIBILITY_RPS": lists, "RECONCILER_MAX_RPS": max_rps}
    )


def test_limits_that_differ_in_one_namespace_are_a_warning() -> None:
    (finding,) = limits([limited("orders", HERE, 100), limited("exports", HERE, 0)])

    assert finding.level is Level.WARNING
    assert finding.message == (
        "targets share namespace 'default' at temporal:7233, and RECONCILER_MAX_RPS is "
        "100 in orders, 0 in exports: for `run` the lowest counts, 100"
    )


def test_limits_may_differ_between_namespaces() -> None:
    targets = [limited("a", HERE, 100), limited("b", THERE, 50), limited("c", HERE, 100)]

    (finding,) = limits(targets)

    assert finding.level is Level.OK


def test_each_limit_and_namespace_is_compared() -> None:
    targets = [limited("a", HERE, 100), limited("b", THERE, 50), limited("c", THERE, 60, 4)]

    assert [each.level for each in limits(targets)] == [Level.WARNING, Level.WARNING]


def test_two_targets_over_the_same_rows_are_a_failure() -> None:
    (finding,) = rows([("orders", "copy")])

    assert finding.level is Level.FAILURE
    assert finding.message.startswith("the targets orders and copy select the same rows")
    assert [each.level for each in rows([])] == [Level.OK]
