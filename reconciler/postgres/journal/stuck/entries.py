"""What reading and writing entries have in common: which are ours, and whose row is running.

An entry belongs to the passes of one configuration over one namespace.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TypeVar

import sqlalchemy as sa

from reconciler.core.errors import DatabaseUnusable
from reconciler.core.stuck.condition import Reason
from reconciler.postgres.connection.engine import sqlstate
from reconciler.postgres.schema import at_risk, stuck
from reconciler.postgres.table.mapping import MappedTable

TABLES = (stuck, at_risk)
#: Another version may know more.
REASONS = frozenset(Reason)
#: PostgreSQL's class of errors about values, such as a text that is no number.
_DATA_EXCEPTION = "22"
_T = TypeVar("_T")


def of_scope(entries: sa.FromClause, table: MappedTable, namespace: str) -> sa.ColumnElement[bool]:
    """That entries are of the passes over this table, as mapped, and this namespace."""
    return sa.and_(entries.c.table_name == table.scope, entries.c.namespace == namespace)


def has_running_row(
    table: MappedTable, entries: sa.FromClause, *, as_text: bool = False
) -> sa.ColumnElement[bool]:
    """That the row of an entry is running, and of the same workflow where an entry depends on it.

    `as_text` compares keys as text, which needs no index, but reads all running rows.
    """
    return sa.exists(
        sa.select(sa.literal_column("1"))
        .select_from(table.table)
        .where(_same_key(table, entries, as_text=as_text), _is_running(table, as_text=as_text))
        .where(_same_workflow(table, entries))
        .correlate(entries)
    )


def _same_key(
    table: MappedTable, entries: sa.FromClause, *, as_text: bool
) -> sa.ColumnElement[bool]:
    if as_text:
        return sa.cast(table.id, sa.Text) == entries.c.row_id
    # The text is cast, not the key, so that the key's index can be used.
    return table.id == sa.cast(entries.c.row_id, table.id.type)


def _is_running(table: MappedTable, *, as_text: bool) -> sa.ColumnElement[bool]:
    """In a CASE, PostgreSQL does not estimate how few rows are running, and finds each by its key.

    Of a table that was analysed when no row was running it would read all running rows.
    """
    if as_text or not table.relation.finds_keys:
        return table.is_running
    return sa.case((table.is_running, sa.true()), else_=sa.false())


def _same_workflow(table: MappedTable, entries: sa.FromClause) -> sa.ColumnElement[bool]:
    """A row at risk may have a workflow id that cannot be read."""
    if "run_id" not in entries.c:
        return sa.true()
    return table.workflow_id == entries.c.workflow_id


async def by_key_or_text(attempt: Callable[[bool], Awaitable[_T]]) -> _T:
    """Try with `as_text` false, then true if keys that were recorded are none of the table's now.

    They are not if the key's type has changed. Raises `DatabaseUnusable`.
    """
    try:
        return await attempt(False)  # noqa: FBT003
    except DatabaseUnusable as error:
        if not sqlstate(error.__cause__).startswith(_DATA_EXCEPTION):
            raise
    return await attempt(True)  # noqa: FBT003
