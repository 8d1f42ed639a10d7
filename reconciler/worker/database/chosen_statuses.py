"""Statuses that the application's `status_of` returned: checked before they are written."""

from __future__ import annotations

from sqlalchemy.ext.asyncio import AsyncEngine

from reconciler.core.errors import ConfigurationError
from reconciler.core.text import one_line
from reconciler.postgres.connection.queries import transacting
from reconciler.postgres.table.checks.columns import unstorable_status
from reconciler.postgres.table.mapping import MappedTable

_FIX = "return one of the column's values for finished rows, or None to leave the row"


class ChosenStatuses:
    """The values that are known to fit the status column of one mapped table."""

    def __init__(self, engine: AsyncEngine, table: MappedTable) -> None:
        self._engine, self._table = engine, table
        self._fitting = set(table.mapping.statuses.ends)

    async def check(self, status: str) -> None:
        """Raise `ConfigurationError` unless the column can hold the status of a finished row."""
        if status in self._fitting:
            return
        shown, table = one_line(status, 100), self._table
        if status in table.mapping.statuses.running:
            raise ConfigurationError(
                f"status_of returned {shown!r}, which stands for running rows", _FIX
            )
        async with transacting(self._engine) as connection:
            problem = await unstorable_status(
                connection, table.relation, table.table, table.mapping, status
            )
        if problem is not None:
            raise ConfigurationError(problem, _FIX)
        self._fitting.add(status)
