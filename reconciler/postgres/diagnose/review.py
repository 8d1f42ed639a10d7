"""What is suspicious about the table as a whole, before a pass and for `doctor`."""

from __future__ import annotations

from sqlalchemy.ext.asyncio import AsyncEngine

from reconciler.core.policy import StatusValues
from reconciler.core.status_review import StatusCounts, other_tables, review_statuses
from reconciler.core.table_warnings import TableWarning
from reconciler.postgres.connection.engine import translated
from reconciler.postgres.connection.queries import read_transaction
from reconciler.postgres.diagnose.status_values import count_statuses
from reconciler.postgres.rows.store import PostgresStore
from reconciler.postgres.table.absent import tables_with_workflow_ids
from reconciler.postgres.table.mapping import MappedTable


async def review_values(
    engine: AsyncEngine, table: MappedTable, statuses: StatusValues, *, chosen: bool
) -> tuple[StatusCounts, list[TableWarning]]:
    """The values of the status column, and what is suspicious about the table.

    `chosen`: its name is in the settings, and not just the default. Raises `DatabaseUnusable`.
    """
    found = await count_statuses(engine, table)
    if found.is_empty and not chosen:
        return found, await _other_tables(engine, table)
    known = found.has_any(statuses.every)
    has_running = known or await PostgresStore(engine, table).last_running() is not None
    column = table.status.name
    return found, review_statuses(found, statuses, column, has_running=has_running)


async def _other_tables(engine: AsyncEngine, table: MappedTable) -> list[TableWarning]:
    own = (table.relation.schema, table.relation.name)
    with translated("look for tables", engine):
        async with read_transaction(engine) as connection:
            others = await connection.run_sync(tables_with_workflow_ids, own)
    return [other_tables(table.full_name, others)] if others else []
