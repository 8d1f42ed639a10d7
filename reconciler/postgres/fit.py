"""Whether columns can hold the values that the settings have for them, before a row needs it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable, Mapping

import sqlalchemy as sa
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncConnection

from reconciler.core.verdict import StatusValues
from reconciler.postgres.relation import Relation
from reconciler.postgres.tables import TableMapping
from reconciler.postgres.types import is_text

# The type as SQL writes it; the values of an enum; and the checks on this column alone.
_COLUMN = sa.text(
    "SELECT format_type(a.atttypid, a.atttypmod) AS type,"
    " array(SELECT enumlabel::text FROM pg_enum e WHERE e.enumtypid = a.atttypid"
    "  ORDER BY enumsortorder) AS labels,"
    " array(SELECT pg_get_expr(conbin, conrelid) FROM pg_constraint c WHERE c.conrelid = :oid"
    "  AND c.contype = 'c' AND c.conkey = ARRAY[a.attnum] ORDER BY conname) AS checks"
    " FROM pg_attribute a WHERE a.attrelid = :oid AND a.attname = :column"
)


async def unfit_values(
    connection: AsyncConnection, relation: Relation, table: sa.Table, mapping: TableMapping
) -> AsyncIterator[str]:
    """A line for each column that cannot hold a value the settings have for it."""
    given = {mapping.names.status: _settings_of(mapping.statuses)}
    if mapping.where:
        given[mapping.where.column] = dict.fromkeys(mapping.where.values, "RECONCILER_WHERE")
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
