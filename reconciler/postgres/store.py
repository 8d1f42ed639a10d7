"""The application's table as the pass needs it: read a page, finish rows if still running.

Two statements, each in a short transaction of its own; nothing is open while Temporal is asked.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Any
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncEngine

from reconciler.core.model import Outcome, RowId, RunRow
from reconciler.core.text import one_line
from reconciler.ports import Written
from reconciler.postgres.engine import sqlstate, translated
from reconciler.postgres.mapping import MappedTable
from reconciler.postgres.write import guarded_write

# SQLSTATE classes of what one row's values, constraints or triggers can cause: data exception,
# integrity violation, and PL/pgSQL's RAISE. Anything else concerns the whole statement.
_ROW_ERRORS = ("22", "23", "P0")


class PostgresStore:
    """Implements `Store` over one mapped table."""

    def __init__(self, engine: AsyncEngine, table: MappedTable) -> None:
        self._engine = engine
        self._table = table

    @cached_property
    def _write(self) -> sa.Select[Any]:
        # Made when it is first needed: a dry run works on a table that lacks what it writes.
        return guarded_write(self._table)

    async def last_running(self) -> RowId | None:
        """The highest id among the running rows; None if there are none."""
        table = self._table
        query = sa.select(table.id).where(table.is_running).order_by(table.id.desc()).limit(1)
        with translated(f"read {table.full_name}"):
            async with self._engine.connect() as connection:
                await connection.execution_options(postgresql_readonly=True)
                last: RowId | None = await connection.scalar(query)
                return last

    async def scan_running(self, after: RowId | None, until: RowId, limit: int) -> Sequence[RunRow]:
        """The next page of running rows in the order of their ids."""
        table = self._table
        query = table.select_rows().where(table.is_running, table.id <= until)
        if after is not None:
            query = query.where(table.id > after)
        query = query.order_by(table.id).limit(limit)
        with translated(f"read {table.full_name}"):
            async with self._engine.connect() as connection:
                await connection.execution_options(postgresql_readonly=True)
                return [RunRow(*row) for row in await connection.execute(query)]

    async def finish_if_running(self, pass_id: str, outcomes: Sequence[Outcome]) -> Written:
        """Finish and journal those rows that are still running with the run id that was seen.

        Does not wait for a row that another transaction has locked: whoever locked it is writing
        it, and if not, the next pass will.
        """
        try:
            with translated(f"write {self._table.full_name}"):
                async with self._engine.begin() as connection:
                    result = await connection.execute(self._write, _arrays(pass_id, outcomes))
                    return Written(frozenset(result.scalars()))
        except Exception as error:
            cause = error.__cause__
            if not isinstance(cause, DBAPIError) or not sqlstate(cause).startswith(_ROW_ERRORS):
                raise
            if len(outcomes) == 1:
                return Written(frozenset(), {outcomes[0].row.id: one_line(str(cause.orig), 300)})
            return await self._finish_in_halves(pass_id, outcomes)

    async def _finish_in_halves(self, pass_id: str, outcomes: Sequence[Outcome]) -> Written:
        # One row that the database refuses must not keep the rest of its batch from being
        # written: halving finds it in a few statements.
        middle = len(outcomes) // 2
        first = await self.finish_if_running(pass_id, outcomes[:middle])
        second = await self.finish_if_running(pass_id, outcomes[middle:])
        return Written(first.ids | second.ids, {**first.refused, **second.refused})


def _arrays(pass_id: str, outcomes: Sequence[Outcome]) -> Mapping[str, Any]:
    return {
        "pass_id": UUID(pass_id),
        "given_id": [o.row.id for o in outcomes],
        "given_workflow_id": [o.row.workflow_id for o in outcomes],
        "given_run_id": [o.row.run_id for o in outcomes],
        "given_status": [o.status for o in outcomes],
        "given_message": [o.error_message for o in outcomes],
        "given_evidence": [o.temporal_status for o in outcomes],
        "given_final_run_id": [o.final_run_id for o in outcomes],
        "given_close_time": [o.completed_at for o in outcomes],
    }
