"""CHECK constraints over several columns that no write of a certain end can keep.

A strict schema ties columns together: a failed row must have its error code, say, which a pass does
not know. Then each row that fails is refused. The constraints are evaluated on some running rows
with the values that a pass would write, without writing them.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import sqlalchemy as sa
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from reconciler.core.table_warnings import TableWarning, WarningCode
from reconciler.core.text import one_line
from reconciler.postgres.connection.engine import translated
from reconciler.postgres.connection.queries import read_transaction
from reconciler.postgres.diagnose.ends import End
from reconciler.postgres.diagnose.status_values import TIMEOUT
from reconciler.postgres.table.mapping import MappedTable
from reconciler.postgres.table.run_row import finish_values

#: Running rows that are looked at.
SAMPLE = 100

_CONSTRAINTS = sa.text(
    "SELECT c.conname::text AS name, pg_get_expr(c.conbin, c.conrelid) AS condition,"
    " ARRAY(SELECT a.attname::text FROM pg_attribute a WHERE a.attrelid = c.conrelid"
    "  AND a.attnum = ANY (c.conkey)) AS columns"
    " FROM pg_constraint c WHERE c.conrelid = :oid AND c.contype = 'c'"
    " AND cardinality(c.conkey) > 1 ORDER BY 1"
)


async def rejecting_constraints(
    engine: AsyncEngine, table: MappedTable, ends: Sequence[End]
) -> list[TableWarning]:
    """A warning for each constraint that rejects an end of every row that was looked at.

    None if triggers may set what a constraint needs. Raises `DatabaseUnusable`.
    """
    if table.relation.has_triggers:
        return []
    warnings = []
    with translated(f"check the constraints of {table.full_name}", engine):
        async with read_transaction(engine) as connection:
            limit = sa.func.set_config("statement_timeout", str(TIMEOUT), True)  # noqa: FBT003
            await connection.execute(sa.select(limit))
            given = {"oid": table.relation.oid}
            for found in (await connection.execute(_CONSTRAINTS, given)).all():
                rejected = [end for end in ends if await _rejects(connection, table, found, end)]
                if rejected:
                    warnings.append(_warning(found, rejected))
    return warnings


def _warning(constraint: sa.Row[Any], ends: Sequence[End]) -> TableWarning:
    condition, rejected = one_line(constraint.condition, 200), ", ".join(end.name for end in ends)
    return TableWarning(
        WarningCode.WRITE_REJECTED,
        f"constraint {constraint.name} rejects every row that becomes {rejected}, which would stay "
        f"as it is: CHECK {condition}",
        "change the constraint, or add a trigger that sets what it needs",
    )


async def _rejects(
    connection: AsyncConnection, table: MappedTable, constraint: sa.Row[Any], end: End
) -> bool:
    """Whether all rows that were looked at would be rejected, and there was one."""
    rows = sa.select(*_columns(connection, table, constraint.columns, end))
    rows = rows.select_from(table.table).where(table.is_running).limit(SAMPLE)
    # A colon in a condition does not begin a parameter.
    condition = sa.text(f"NOT ({constraint.condition})".replace(":", "\\:"))
    count = sa.func.count()
    query = sa.select(count, count.filter(condition)).select_from(rows.subquery("given"))
    try:
        async with connection.begin_nested():
            total, rejected = (await connection.execute(query)).one()
    except DBAPIError as error:
        if error.connection_invalidated:
            raise
        return False  # it cannot be evaluated like this, so nothing is known
    return 0 < total == rejected


def _columns(
    connection: AsyncConnection, table: MappedTable, columns: Sequence[str], end: End
) -> Iterator[sa.ColumnElement[Any]]:
    """The columns of a constraint as they would be after the write."""
    close_time = sa.cast(sa.null() if end.unknown else sa.func.now(), sa.DateTime(timezone=True))
    message = sa.literal(end.message, sa.Text)
    written = finish_values(table, sa.literal(end.status, sa.Text), close_time, message)
    after = {column.name: value for column, value in written.items()}
    quote = connection.dialect.identifier_preparer.quote
    for name in columns:
        value = after.get(name)
        yield (sa.literal_column(quote(name)) if value is None else value).label(name)
