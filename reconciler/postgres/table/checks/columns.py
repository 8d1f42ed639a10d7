"""Checks that columns can hold the values that the settings have for them."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Mapping
from dataclasses import fields
from typing import Any, TypeAlias

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncConnection

from reconciler.core.errors import DatabaseUnfit
from reconciler.core.policy import StatusValues
from reconciler.core.text import one_line
from reconciler.postgres.table.names import TableMapping, TableNames
from reconciler.postgres.table.relation import BASE, DECLARED, Relation
from reconciler.postgres.table.types import KEYS, is_document, is_text, is_time
from reconciler.postgres.table.workflow_ids import is_composable

# The type as in SQL, the values of an enum, and the checks on this column only.
COLUMN = sa.text(
    "SELECT format_type(a.atttypid, a.atttypmod) AS type, a.attnotnull,"
    " array(SELECT enumlabel::text FROM pg_enum e WHERE e.enumtypid = a.atttypid"
    "  ORDER BY enumsortorder) AS labels,"
    " array(SELECT pg_get_expr(conbin, conrelid) FROM pg_constraint c WHERE c.conrelid = :oid"
    "  AND c.contype = 'c' AND c.conkey = ARRAY[a.attnum] ORDER BY conname) AS checks"
    " FROM pg_attribute a WHERE a.attrelid = :oid AND a.attname = :column"
)


def setting_of(names: TableNames, column: str) -> str:
    """The setting that names this column."""
    for field in fields(names):
        named: tuple[str | None, ...] = (getattr(names, field.name),)
        if field.name == "workflow_id":
            named = names.template.columns
        if field.name not in ("table", "schema") and column in named:
            return f"RECONCILER_COLUMNS__{field.name.upper()}"
    return "RECONCILER_WHERE"


def wrong_types(table: sa.Table, mapping: TableMapping) -> Iterator[DatabaseUnfit]:
    """A problem for each column of an unsuitable type: every row would fail, or be misread."""
    names = mapping.names
    filtered = mapping.where.compared if mapping.where else ()
    compared = *names.read, *(each.column for each in filtered)
    wanted = dict.fromkeys(compared, _COMPARED)
    wanted |= {names.id: _KEY}
    wanted |= {name: _RUN_ID for name in (names.run_id,) if name}
    wanted |= dict.fromkeys(names.times, _TIME)
    wanted |= {name: _MESSAGE for name in (names.error_message,) if name}
    every = list(wanted.items())
    if not names.template.is_column:
        every += [(name, _PART) for name in names.template.columns]
    for name, (kinds, is_one) in every:
        if (column := table.c.get(name)) is not None and not is_one(column):
            yield DatabaseUnfit(
                f"column {name} of {names.full_name} is of type {column.info[DECLARED]}, and must "
                f"be {kinds}",
                _fix(names, name),
            )


def _fix(names: TableNames, name: str) -> str:
    fix = f"set {setting_of(names, name)}"
    if not names.template.is_column and name in names.template.columns:
        return fix
    if name in names.filled:
        return f"{fix} (empty: no such column), or a name that `reconciler migrate` is to add"
    return f"{fix} (empty: no such column)" if name in names.optional else fix


def _is_compared(column: sa.Column[Any]) -> bool:
    return not isinstance(column.type, (sa.types.NullType, postgresql.DOMAIN))


def _is_run_id(column: sa.Column[Any]) -> bool:
    return is_text(column) or isinstance(column.type, sa.Uuid)


def _is_key(column: sa.Column[Any]) -> bool:
    # The driver reads the latter as bytes, but does not accept bytes.
    return isinstance(column.type, KEYS) and column.info[BASE] != '"char"'


def _is_message(column: sa.Column[Any]) -> bool:
    # PostgreSQL silently cuts the others.
    kind = column.info[BASE]
    return is_document(column) or (is_text(column) and kind not in ('"char"', "name"))


_Kind: TypeAlias = tuple[str, Callable[[sa.Column[Any]], bool]]
_COMPARED: _Kind = (
    "a number, a text, an enum (not a domain of one), a uuid or the like",
    _is_compared,
)
_KEY: _Kind = ("a number, a text, an enum (not a domain of one), a uuid or the like", _is_key)
_TIME: _Kind = ("timestamp with or without time zone", is_time)
_PART: _Kind = (
    "text, varchar, an enum, an integer, a uuid or a timestamp to be part of a workflow id",
    is_composable,
)
_RUN_ID: _Kind = ("text, varchar or uuid", _is_run_id)
_MESSAGE: _Kind = ("text, varchar, json or jsonb", _is_message)


async def unstorable_values(
    connection: AsyncConnection, relation: Relation, table: sa.Table, mapping: TableMapping
) -> AsyncIterator[DatabaseUnfit]:
    """A problem for each column that cannot hold a value from the settings."""
    given: dict[str, Mapping[str | None, str]]
    given = {mapping.names.status: _settings_of(mapping.statuses)}
    for condition in mapping.where.compared if mapping.where else ():
        wanted: dict[str | None, str] = dict.fromkeys(condition.values, "RECONCILER_WHERE")
        given[condition.column] = {**wanted, **given.get(condition.column, {})}
    for name in filter(table.c.__contains__, given):
        if not _is_compared(table.c[name]):
            continue
        of = relation, table, mapping.names
        if problem := await _cannot_hold(connection, *of, name, given[name]):
            yield DatabaseUnfit(problem)


async def unstorable_status(
    connection: AsyncConnection,
    relation: Relation,
    table: sa.Table,
    mapping: TableMapping,
    status: str,
) -> str | None:
    """Why the status column cannot hold a value that the application has chosen, or None."""
    names = mapping.names
    given: Mapping[str | None, str] = {status: "status_of"}
    return await _cannot_hold(connection, relation, table, names, names.status, given)


async def _cannot_hold(
    connection: AsyncConnection,
    relation: Relation,
    table: sa.Table,
    names: TableNames,
    name: str,
    given: Mapping[str | None, str],
) -> str | None:
    """Which of the values a column cannot hold; each is given with its source."""
    column = (await connection.execute(COLUMN, {"oid": relation.oid, "column": name})).one()
    # A filter's value may have several spellings, such as a uuid or a number.
    exactly = name == names.status or is_text(table.c[name])
    quoted = connection.dialect.identifier_preparer.quote(name)
    test = test_of(quoted, column.type, column.checks, exactly=exactly)
    rejected = [
        value
        for value in given
        if (value is None and column.attnotnull) or not await passes(connection, test, value)
    ]
    if not rejected:
        return None
    values = ", ".join(
        f"{'null' if value is None else repr(one_line(value, 100))} ({given[value]})"
        for value in rejected
    )
    never_null = " NOT NULL" if column.attnotnull and None in rejected else ""
    kind = f"{column.type}{never_null}{limits(column.labels, column.checks)}"
    return f"column {name} of {names.full_name}, {kind}, cannot hold {values}"


def _settings_of(statuses: StatusValues) -> Mapping[str | None, str]:
    """The values, each with the setting that it comes from."""
    given = dict.fromkeys(statuses.running, "RECONCILER_STATUSES__RUNNING")
    for end in ("completed", "failed", "canceled", "terminated", "timed_out"):
        if (value := getattr(statuses, end)) is not None:
            given.setdefault(value, f"RECONCILER_STATUSES__{end.upper()}")
    return given


def limits(labels: Iterable[str], checks: Iterable[str]) -> str:
    """The values that a column of this type may hold, as far as known."""
    values = f" of {', '.join(labels)}" if labels else ""
    return values + "".join(f" with CHECK {check}" for check in checks)


def test_of(column: str, kind: str, checks: Iterable[str], *, exactly: bool) -> sa.TextClause:
    """A query: can a value be cast to the type without being cut, and does it pass the checks?"""
    conditions = [
        f"CAST({column} AS text) IS NOT DISTINCT FROM reconciler_given"
        if exactly
        else f"{column} = {column}"
    ]
    conditions += [f"({check}) IS NOT FALSE" for check in checks]
    sql = (
        f"SELECT {' AND '.join(conditions)} FROM (SELECT"  # noqa: S608 - the catalogue's
        f" CAST(CAST($given AS text) AS {kind}) AS {column},"
        " CAST($given AS text) AS reconciler_given) AS given"
    )
    # A colon in a check does not begin a parameter.
    return sa.text(sql.replace(":", "\\:").replace("$given", ":given"))


async def passes(connection: AsyncConnection, test: sa.TextClause, value: str | None) -> bool:
    """Whether a value passes a test of `test_of`."""
    try:
        async with connection.begin_nested():
            return bool(await connection.scalar(test, {"given": value}))
    except DBAPIError:
        return False
