"""The closings feed's marks: up to which close time the closings of each status have been taken.

They let another process start where this one stops. All times of saving are the database's.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from datetime import datetime, timedelta

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql
from sqlalchemy.ext.asyncio import AsyncEngine

from reconciler.core.feed.saved_marks import SavedMarks
from reconciler.core.model import CloseStatus
from reconciler.postgres.connection.engine import translated
from reconciler.postgres.connection.queries import fetch
from reconciler.postgres.journal.schema_check import transact
from reconciler.postgres.schema import closings

#: How long marks are kept that nobody replaces: those of a feed that no longer runs, of any table.
#: The feed uses none that are older than an hour.
KEEP = timedelta(days=7)


class PostgresMarks:
    """The marks over one table; see the port `Marks`."""

    def __init__(self, engine: AsyncEngine, table_name: str) -> None:
        self._engine, self._table_name = engine, table_name

    async def namespaces(self) -> Collection[str]:
        """The names under which marks were saved."""
        query = sa.select(closings.c.namespace).distinct()
        with translated("read reconciler.closings"):
            found = await fetch(
                self._engine, query.where(closings.c.table_name == self._table_name)
            )
        return [name for (name,) in found]

    async def load(self, namespace_id: str) -> SavedMarks | None:
        """Read the marks. Ignores a status that another version has saved."""
        query = sa.select(
            closings.c.status, closings.c.mark, closings.c.saved_at, sa.func.clock_timestamp()
        ).where(*self._same(namespace_id))
        with translated("read reconciler.closings"):
            rows = await fetch(self._engine, query)
        marks = {CloseStatus(status): mark for status, mark, *_ in rows if status in _STATUSES}
        if not marks:
            return None
        return SavedMarks(marks, min(row[2] for row in rows), rows[0][3])

    async def save(
        self, namespace_id: str, name: str, marks: Mapping[CloseStatus, datetime]
    ) -> None:
        """Replace the marks in one transaction, and remove those that nobody has replaced."""
        now, statuses = sa.func.clock_timestamp(), [status.value for status in marks]
        same = sa.and_(*self._same(namespace_id), closings.c.status.not_in(statuses))
        statements: list[sa.Delete | sa.Insert] = [
            sa.delete(closings).where(sa.or_(same, closings.c.saved_at < now - KEEP))
        ]
        if marks:
            values = [
                {
                    "table_name": self._table_name,
                    "namespace_id": namespace_id,
                    "namespace": name,
                    "status": status.value,
                    "mark": mark,
                    "saved_at": now,
                }
                # In the same order everywhere, so that two replicas do not deadlock.
                for status, mark in sorted(marks.items())
            ]
            saving = postgresql.insert(closings).values(values)
            given = {each: saving.excluded[each] for each in ("namespace", "mark", "saved_at")}
            statements.append(
                saving.on_conflict_do_update(index_elements=list(closings.primary_key), set_=given)
            )
        await transact(self._engine, statements, "write reconciler.closings")

    def _same(self, namespace_id: str) -> list[sa.ColumnElement[bool]]:
        of = {"table_name": self._table_name, "namespace_id": namespace_id}
        return [closings.c[name] == value for name, value in of.items()]


_STATUSES = frozenset(status.value for status in CloseStatus)
