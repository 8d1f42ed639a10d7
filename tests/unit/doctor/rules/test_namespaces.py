"""The namespaces that rows name: which are a warning."""

from __future__ import annotations

from datetime import timedelta

import pytest

from reconciler.core.model import Unknown
from reconciler.doctor.findings import Level
from reconciler.doctor.rules.namespaces import RowsOfNamespace, namespaces
from reconciler.postgres.diagnose.sample import NamespaceRows
from reconciler.temporal.client.namespace import Namespace
from tests.support.factories import NOW

HOUR, DAY = timedelta(hours=1), timedelta(days=1)


def found(
    name: str, kept: timedelta | str, count: int = 1, age: timedelta = HOUR
) -> RowsOfNamespace:
    rows = NamespaceRows(name, count, NOW - age)
    if isinstance(kept, str):
        return RowsOfNamespace(rows, Unknown(kept))
    return RowsOfNamespace(rows, Namespace(name, kept, frozenset(), archives_history=False))


def test_usable_namespaces_share_a_line() -> None:
    (finding,) = namespaces([found("blue", 3 * DAY, 5), found("default", DAY)], "default")

    assert (finding.check, finding.level) == ("namespaces", Level.OK)
    assert finding.message == (
        "5 running rows of blue, keeps closed workflows for 3 d; "
        "1 running row of default, keeps closed workflows for 24 h"
    )


def test_no_running_rows_is_ok() -> None:
    (finding,) = namespaces([], "default")

    assert (finding.level, finding.message) == (Level.OK, "no row is running")


def test_an_unusable_namespace_is_a_warning_of_its_own() -> None:
    gone = "Temporal at t:1 has no namespace 'gone': set the right one in the row"

    good, bad = namespaces([found("gone", gone, 7), found("default", DAY)], "default")

    assert good.message.startswith("1 running row of default")
    assert (bad.check, bad.level) == ("namespaces", Level.WARNING)
    assert bad.message == (
        "7 running rows of 'gone' cannot be judged: Temporal at t:1 has no namespace 'gone': "
        "set the right one in the row"
    )
    assert bad.fix == "correct it in the rows, or allow access"


def test_no_line_says_ok_where_no_namespace_is_usable() -> None:
    (bad,) = namespaces([found(" ", "the row's namespace ' ' cannot be one")], "default")

    assert bad.level is Level.WARNING
    assert bad.fix == "correct it in the rows, or allow access"


@pytest.mark.parametrize(("name", "level"), [("blue", Level.WARNING), ("default", Level.OK)])
def test_a_short_retention_of_the_connections_namespace_is_not_reported_twice(
    name: str, level: Level
) -> None:
    (finding,) = namespaces([found(name, HOUR)], "default")

    assert (finding.check, finding.level) == ("namespaces", level)


@pytest.mark.parametrize(
    ("kept", "age", "near"),
    [(DAY, 19 * HOUR, False), (DAY, 20 * HOUR, True), ("unreachable", 20 * HOUR, False)],
)
def test_rows_are_old_by_the_retention_of_their_own_namespace(
    kept: timedelta | str, age: timedelta, near: bool
) -> None:
    assert found("blue", kept, age=age).is_near(NOW) is near
