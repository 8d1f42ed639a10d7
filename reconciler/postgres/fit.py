"""Whether columns can hold the values that the settings have for them, before a row needs it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Mapping
from dataclasses import fields
from typing import Any, TypeAlias

import sqlalchemy as sa
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncConnection

from reconciler.core.verdict import StatusValues
from reconciler.postgres.relation import Relation, quoted_name
from reconciler.postgres.tables import TableMapping, TableNames
from reconciler.postgres.types import KEYS, in_words, is_text

# The type as SQL writes it; the values of an enum; and the checks on this column alone.
_COLUMN = sa.text(
    "SELECT format_type(a.atttypid, a.atttypmod) AS type,"
    " array(SELECT enumlabel::text FROM pg_enum e WHERE e.enumtypid = a.atttypid"
    "  ORDER BY enumsortorder) AS labels,"
    " array(SELECT pg_get_expr(conbin, conrelid) FROM pg_constraint c WHERE c.conrelid = :oid"
    "  AND c.contype = 'c' AND c.conkey = ARRAY[a.attnum] ORDER BY conname) AS checks"
    " FROM pg_attribute a WHERE a.attrelid = :oid AND a.attname = :column"
)


def setting_of(names: TableNames, column: str) -> str:
    """The setting that names this column."""
    for field in fields(names):
        if field.name not in ("table", "schema") and getattr(names, field.name) == column:
            return f"RECONCILER_COLUMNS__{field.name.upper()}"
    return "RECONCILER_WHERE"


def odd_types(table: sa.Table, mapping: TableMapping) -> Iterator[str]:
    """A line for each column whose type would make every row fail, or read as something else."""
    names = mapping.names
    wanted = dict.fromkeys(mapping.read, _KNOWN)
    wanted |= {names.id: _KEY}
    wanted |= {name: _RUN_ID for name in (names.run_id,) if name}
    wanted |= {name: _TIME for name in (names.created_at, names.completed_at) if name}
    wanted |= {name: _MESSAGE for name in (names.error_message,) if name}
    for name, (kinds, is_one) in wanted.items():
        if (column := table.c.get(name)) is not None and not is_one(column):
            told = f"is of type {in_words(column.type)}, and " if _is_known(column) else ""
            yield (
                f"column {name} of {names.full_name} {told}must be {kinds}: "
                f"set {setting_of(names, name)}"
            )


# Triggers before an update of a row may still put something there.
_NEVER_NULL = sa.text(
    "SELECT attnotnull AND NOT EXISTS (SELECT FROM pg_trigger WHERE tgrelid = attrelid"
    "  AND NOT tgisinternal AND tgtype & 19 = 19)"
    " FROM pg_attribute WHERE attrelid = :oid AND attname = :column"
)


async def unfillable(
    connection: AsyncConnection, relation: Relation, names: TableNames
) -> AsyncIterator[str]:
    """A line if no row that has completed could be written, which has no message."""
    name, dialect = names.error_message, connection.dialect
    if name and await connection.scalar(_NEVER_NULL, {"oid": relation.oid, "column": name}):
        table, column = quoted_name(dialect, names), dialect.identifier_preparer.quote(name)
        yield (
            f"column {name} of {names.full_name} is NOT NULL, and what has completed has no "
            f"message: ALTER TABLE {table} ALTER {column} DROP NOT NULL, "
            "or set RECONCILER_COLUMNS__ERROR_MESSAGE (empty: there is none)"
        )


# Those on UPDATE, which is a write's command.
_RULES = sa.text(
    "SELECT rulename::text FROM pg_rewrite WHERE ev_class = :oid AND ev_type = '2'"
    " AND ev_enabled IN ('O', 'A') ORDER BY 1"
)


async def rewritten(
    connection: AsyncConnection, relation: Relation, names: TableNames
) -> AsyncIterator[str]:
    """A line if PostgreSQL would rewrite the write, which it refuses to do for most rules."""
    if rules := (await connection.scalars(_RULES, {"oid": relation.oid})).all():
        table = quoted_name(connection.dialect, names)
        rule = connection.dialect.identifier_preparer.quote(rules[0])
        yield (
            f"rules on UPDATE of {names.full_name} ({', '.join(rules)}) do not go with the guarded "
            f"write: use a trigger instead, and DROP RULE {rule} ON {table}"
        )


def _is_known(column: sa.Column[Any]) -> bool:
    return not isinstance(column.type, sa.types.NullType)


def _is_time(column: sa.Column[Any]) -> bool:
    return isinstance(column.type, sa.DateTime)


def _is_run_id(column: sa.Column[Any]) -> bool:
    return is_text(column) or isinstance(column.type, sa.Uuid)


def _is_key(column: sa.Column[Any]) -> bool:
    return isinstance(column.type, KEYS)


_Kind: TypeAlias = tuple[str, Callable[[sa.Column[Any]], bool]]
_KNOWN: _Kind = ("a number, a text, an enum, a uuid or the like", _is_known)
_KEY: _Kind = ("a number, a text, an enum, a uuid, a timestamp or the like", _is_key)
_TIME: _Kind = ("timestamp with or without time zone", _is_time)
_RUN_ID: _Kind = ("text, varchar or uuid", _is_run_id)
_MESSAGE: _Kind = ("text or varchar", is_text)


async def unfit_values(
    connection: AsyncConnection, relation: Relation, table: sa.Table, mapping: TableMapping
) -> AsyncIterator[str]:
    """A line for each column that cannot hold a value the settings have for it."""
    given = {mapping.names.status: _settings_of(mapping.statuses)}
    if mapping.where:
        wanted = dict.fromkeys(mapping.where.values, "RECONCILER_WHERE")
        given[mapping.where.column] = {**wanted, **given.get(mapping.where.column, {})}
    for name in filter(table.c.__contains__, given):
        column = (await connection.execute(_COLUMN, {"oid": relation.oid, "column": name})).one()
        # What is looked for may be written in more ways than one, as a uuid or a number may.
        exactly = name == mapping.names.status or is_text(table.c[name])
        quoted = connection.dialect.identifier_preparer.quote(name)
        test = _test(quoted, column.type, column.checks, exactly=exactly)
        unfit = [value for value in given[name] if not await _passes(connection, test, value)]
        if unfit:
            told = ", ".join(f"{value!r} ({given[name][value]})" for value in unfit)
            kind = f"{column.type}{_limits(column.labels, column.checks)}"
            yield f"column {name} of {mapping.names.full_name}, {kind}, cannot hold {told}"


def _settings_of(statuses: StatusValues) -> Mapping[str, str]:
    """The values, and the setting that each comes from."""
    given = dict.fromkeys(statuses.running, "RECONCILER_STATUSES__RUNNING")
    for end in ("completed", "failed", "canceled", "terminated", "timed_out"):
        given.setdefault(getattr(statuses, end), f"RECONCILER_STATUSES__{end.upper()}")
    return given


def _limits(labels: Iterable[str], checks: Iterable[str]) -> str:
    """What a column of this type holds, as far as it is known."""
    values = f" of {', '.join(labels)}" if labels else ""
    return values + "".join(f" with CHECK {check}" for check in checks)


def _test(column: str, kind: str, checks: Iterable[str], *, exactly: bool) -> sa.TextClause:
    """Whether a value can be cast to the type, is not cut by that, and passes the checks."""
    conditions = [
        f"CAST({column} AS text) = reconciler_given" if exactly else f"{column} = {column}"
    ]
    conditions += [f"({check}) IS NOT FALSE" for check in checks]
    sql = (
        f"SELECT {' AND '.join(conditions)} FROM (SELECT"  # noqa: S608 - the catalogue's
        f" CAST(CAST($given AS text) AS {kind}) AS {column},"
        " CAST($given AS text) AS reconciler_given) AS given"
    )
    # A colon in a check is PostgreSQL's, and no parameter of ours.
    return sa.text(sql.replace(":", "\\:").replace("$given", ":given"))


async def _passes(connection: AsyncConnection, test: sa.TextClause, value: str) -> bool:
    try:
        async with connection.begin_nested():
            return bool(await connection.scalar(test, {"given": value}))
    except DBAPIError:
        return False
