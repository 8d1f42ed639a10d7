"""Two targets that select the same rows are refused, without asking a database."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from reconciler.core.errors import ConfigurationError
from reconciler.postgres.table.row_filter import Condition, RowFilter
from reconciler.settings.database_url import databases, parse_database_url
from reconciler.settings.model import Settings
from reconciler.settings.targets import load_targets, share_rows

_URL = "postgresql://app:secret@db/app"


def settings(url: str = _URL, **given: object) -> Settings:
    return Settings(database_url=url, **given)


def share(one: Settings, other: Settings) -> bool:
    assert share_rows(one, other) == share_rows(other, one)
    return share_rows(one, other)


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("u:p@db/app", "other@DB:5432/app?sslmode=require", True),
        ("db/app", "db./%61pp", True),
        ("db/app", "db:6432/app", False),
        ("db/app", "db/App", False),
        ("db/app", "replica/app", False),
        ("a,b:1/app", "c,b:1/app", True),
        ("a,b:1/app", "b/app", False),
        ("a,b:1/app", "a/app", True),
        ("/app?host=a,b&port=1,2", "b:2/app", True),
        ("/app?host=a,b&port=7", "b:7/app", True),
        ("/app?host=/run/pg", "%2Frun%2Fpg/app", True),
        ("db/app?host=/run/pg", "db/app", False),
        ("/?host=db&dbname=app", "db/app", True),
        ("[::1]/app", "localhost/app", True),
        ("127.0.0.1/app", "/app", True),
        ("[fe80::1]:5432/app", "[FE80::1]/app", True),
        ("app@db", "db/app", True),
        ("/app?service=one", "/app?service=two", False),
        ("/app?service=one", "/app?service=one", True),
    ],
)
def test_one_database_in_two_urls(one: str, other: str, same: bool) -> None:
    url, another = f"postgresql://{one}", f"postgresql://{other}"

    assert share(settings(url), settings(another)) is same


def test_a_url_is_completed_by_the_variables_of_libpq() -> None:
    variables = {"PGHOST": "db", "PGPORT": "6432", "PGDATABASE": "app", "PGUSER": "x"}

    assert databases(parse_database_url("postgresql:///?sslmode=require"), variables) == {
        ("db", "6432", "app")
    }
    assert databases("postgresql://a,b:1/c", variables) == {("a", "6432", "c"), ("b", "1", "c")}


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("jobs", "jobs", True),
        ("jobs", "Jobs", False),
        ("jobs", '"jobs"', True),
        ("a.jobs", "b.jobs", False),
        ("a.jobs", '"a"."jobs"', True),
        ("jobs", "b.jobs", True),
        ('"a.jobs"', "a.jobs", False),
    ],
)
def test_one_table_under_two_names(one: str, other: str, same: bool) -> None:
    assert share(settings(table=one), settings(table=other)) is same


def test_another_status_column_makes_another_target() -> None:
    other = settings(columns={"status": "sync_status", "id": "id"})

    assert share(settings(), settings(columns={"id": "key"}))
    assert not share(settings(), other)


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("running", "RUNNING ", True),  # one value in citext, or in char(n)
        ("running", "queued", False),
        ("queued,running", "running,started", True),
        ('["queued", null]', '["running", null]', True),
        ('["queued", null]', "running", False),
        ("[null]", "running", False),
        ("0", "false", False),
        ("1", "01.0", True),
        ("t", "TRUE", True),
    ],
)
def test_running_values_in_common(one: str, other: str, same: bool) -> None:
    first, second = (settings(statuses={"running": each}) for each in (one, other))

    assert share(first, second) is same


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("a=1", "a=2", False),
        ("a=1,2", "a=2,3", True),
        ("a=1", "b=2", True),
        ("a=1 and b=1", "a=1 and b=2", False),
        ("a=1,2", "a!=1", True),
        ("a=1,2", "a!=1,2,3", False),
        ("a=01", "a!=1", True),  # in a text column
        ("a!=1", "a!=2", True),
        ("a is null", "a=1", False),
        ("a is null", "a!=1", False),
        ("a is null", "a is not null", False),
        ("a is null", "a is null", True),
        ("a is not null", "a=1", True),
        ("a is not null", "a!=1", True),
        ('"a"=1', "a=2", False),
        ("A=1", "a=2", True),
        (
            "a=7A1C8AA0-0000-4000-8000-000000000001",
            "a={7a1c8aa0000040008000000000000001}",
            True,
        ),
        ("a=us-east", "a=useast", False),
        ("status!=running", "a=1", False),  # the former selects no row at all
    ],
)
def test_filters_that_a_row_can_fulfil_both(one: str, other: str, same: bool) -> None:
    assert share(settings(where=one), settings(where=other)) is same


def test_a_filter_may_exclude_the_running_values_of_the_other_target() -> None:
    without = settings(where="status is null", statuses={"running": '["queued", null]'})

    assert not share(without, settings(statuses={"running": "queued"}))
    assert share(without, settings(statuses={"running": '["new", null]'}))


_VALUES = ("1", "2", "x")
_CONDITIONS = st.builds(
    Condition,
    st.sampled_from(["a", "b"]),
    st.lists(st.sampled_from(_VALUES), unique=True, max_size=3).map(tuple),
    negated=st.booleans(),
)
_FILTERS = st.lists(_CONDITIONS, max_size=3).map(lambda each: RowFilter(tuple(each)))
_CELLS = st.sampled_from([None, *_VALUES, "other"])


def fulfils(row: dict[str, str | None], wanted: RowFilter) -> bool:
    """As SQL says it: NULL equals nothing, and differs from nothing."""
    for each in wanted.conditions:
        cell = row[each.column]
        if not each.values:
            holds = (cell is None) != each.negated
        else:
            holds = cell is not None and (cell in each.values) != each.negated
        if not holds:
            return False
    return True


@given(_FILTERS, _FILTERS, _CELLS, _CELLS)
@example(RowFilter((Condition("a"),)), RowFilter((Condition("b", ("1",)),)), None, "1")
def test_filters_that_a_row_fulfils_never_exclude_each_other(
    one: RowFilter, other: RowFilter, a: str | None, b: str | None
) -> None:
    excluded = one.excludes(other)

    assert excluded == other.excludes(one)
    row = {"a": a, "b": b}
    assert not (excluded and fulfils(row, one) and fulfils(row, other))


@pytest.mark.parametrize(
    ("one", "other", "fix"),
    [
        ("table = 'jobs'", "table = 'jobs'", "give one of them another table, database, status "),
        ("table = 'jobs'", "table = 'app.jobs'", "name the schema in both tables, unless it is "),
        ("temporal_namespace = 'a'", "temporal_namespace = 'b'", "give one of them another table"),
    ],
)
def test_targets_that_select_the_same_rows_are_refused(one: str, other: str, fix: str) -> None:
    text = f"[targets.a]\n{one}\n[targets.b]\ntable='b'\n[targets.c]\n{other}\n"
    Path("reconciler.toml").write_text(text)

    for named in (None, "a", "c"):
        with pytest.raises(ConfigurationError, match="select the same rows of table") as refused:
            load_targets(named)
        assert str(refused.value).startswith("reconciler.toml: the targets ")
        assert fix in str(refused.value)
    assert [each.target for each in load_targets("b")] == ["b"]


def test_a_target_that_cannot_be_read_here_is_not_compared() -> None:
    Path("reconciler.toml").write_text(
        "[targets.a]\n[targets.b]\ndatabase_url_file = '/run/not-here'\n"
    )

    assert [each.target for each in load_targets("a")] == ["a"]
