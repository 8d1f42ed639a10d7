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

    Each row is found by its key. As a join, PostgreSQL may read the whole table, or all running
    rows of one that was analysed when there were none. `as_text` compares keys as text: then it is
    a join, and needs no index.
    """
    row = sa.select(sa.true()).select_from(table.table).correlate(entries)
    row = row.where(table.is_running, _same_workflow(table, entries))
    if as_text:
        return sa.exists(row.where(sa.cast(table.id, sa.Text) == entries.c.row_id))
    # The text is cast, not the key, so that the key's index can be used.
    same_key = table.id == sa.cast(entries.c.row_id, table.id.type)
    return row.where(same_key).limit(1).scalar_subquery().is_not(sa.null())


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
