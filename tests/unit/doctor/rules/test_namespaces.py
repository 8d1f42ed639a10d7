"""What is said of the namespaces that rows name."""

from __future__ import annotations

from datetime import timedelta

import pytest

from reconciler.core.model import Unknown
from reconciler.doctor.findings import Level
from reconciler.doctor.rules.namespaces import Found, namespaces
from reconciler.postgres.diagnose.sample import NamespaceRows
from reconciler.temporal.client.namespace import Namespace
from tests.support.factories import NOW

HOUR, DAY = timedelta(hours=1), timedelta(days=1)


def found(name: str, kept: timedelta | str, count: int = 1, age: timedelta = HOUR) -> Found:
    rows = NamespaceRows(name, count, NOW - age)
    if isinstance(kept, str):
        return Found(rows, Unknown(kept))
    return Found(rows, Namespace(name, kept, frozenset(), archives_history=False))


def test_those_that_can_be_used_are_told_in_a_line() -> None:
    (finding,) = namespaces([found("blue", 3 * DAY, 5), found("default", DAY)], "default")

    assert (finding.check, finding.level) == ("namespaces", Level.OK)
    assert finding.message == (
        "5 running rows of blue, keeps closed workflows for 3 d; "
        "1 running row of default, keeps closed workflows for 24 h"
    )


def test_where_no_row_is_running_there_is_none_to_tell() -> None:
    (finding,) = namespaces([], "default")

    assert (finding.level, finding.message) == (Level.OK, "no row is running")


def test_one_that_no_pass_can_use_is_a_worry_of_its_own() -> None:
    gone = "Temporal at t:1 has no namespace 'gone': set the right one in the row"

    well, wrong = namespaces([found("gone", gone, 7), found("default", DAY)], "default")

    assert well.message.startswith("1 running row of default")
    assert (wrong.check, wrong.level) == ("namespaces", Level.WARNING)
    assert wrong.message == (
        "7 running rows of 'gone' cannot be judged: Temporal at t:1 has no namespace 'gone': "
        "set the right one in the row"
    )
    assert wrong.fix == "correct it in the rows, or allow access"


def test_where_none_can_be_used_nothing_is_said_to_be_well() -> None:
    (wrong,) = namespaces([found(" ", "the row's namespace ' ' cannot be one")], "default")

    assert wrong.level is Level.WARNING
    assert wrong.fix == "correct it in the rows, or allow access"


@pytest.mark.parametrize(("name", "level"), [("blue", Level.WARNING), ("default", Level.OK)])
def test_a_short_retention_is_a_worry_that_is_told_once(name: str, level: Level) -> None:
    (finding,) = namespaces([found(name, HOUR)], "default")

    assert (finding.check, finding.level) == ("namespaces", level)


@pytest.mark.parametrize(
    ("kept", "age", "near"),
    [(DAY, 19 * HOUR, False), (DAY, 20 * HOUR, True), ("away", 20 * HOUR, False)],
)
def test_the_age_of_a_namespaces_rows_is_measured_by_its_own_retention(
    kept: timedelta | str, age: timedelta, near: bool
) -> None:
    assert found("blue", kept, age=age).is_near(NOW) is near
