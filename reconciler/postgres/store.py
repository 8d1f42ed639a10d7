"""The application's table as the pass needs it: read a page, finish rows if still running.

Two statements, each in a short transaction of its own; nothing is open while Temporal is asked.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Any
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncEngine

from reconciler.core.model import Outcome, RowId, RunRow
from reconciler.core.text import one_line
from reconciler.ports import Written
from reconciler.postgres.engine import translated
from reconciler.postgres.mapping import MappedTable
from reconciler.postgres.tables import changes

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
            if not isinstance(cause, DBAPIError) or not _concerns_a_row(cause):
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


def guarded_write(table: MappedTable) -> sa.Select[Any]:
    """The one statement that changes rows: lock what is still ours, finish it, journal it.

    The guard stands twice. In `locked` it is evaluated on the newest version of each row, and the
    old values come from there; in `finished` it repeats the promise next to the UPDATE, where
    whoever edits it will see it.
    """
    given = _given(table)
    guard = _guard(table, given)
    locked = (
        sa.select(
            table.id.label("id"),
            sa.cast(table.status, sa.Text).label("status"),
            table.as_utc(table.completed_at).label("completed_at"),
            sa.cast(table.error_message, sa.Text).label("error_message"),
        )
        .select_from(sa.join(table.table, given, guard))
        .with_for_update(key_share=True, skip_locked=True, of=table.table)
        .cte("locked")
    )
    finished = (
        sa.update(table.table)
        .values(
            {
                table.status: table.as_stored(table.status, given.c.status),
                table.completed_at: table.from_utc(given.c.close_time),
                table.error_message: table.as_stored(table.error_message, given.c.message),
            }
        )
        .where(guard, table.id == locked.c.id)
        .returning(
            table.id.label("id"),
            sa.cast(table.status, sa.Text).label("status"),
            table.as_utc(table.completed_at).label("completed_at"),
            sa.cast(table.error_message, sa.Text).label("error_message"),
        )
        .cte("finished")
    )
    journalled = _journal(table, given, locked, finished)
    return sa.select(finished.c.id).add_cte(journalled)


def _given(table: MappedTable) -> sa.TableValuedAlias:
    """The outcomes of a batch as a relation, from one array per column."""
    names = ("workflow_id", "run_id", "status", "message", "evidence", "final_run_id")
    time = sa.DateTime(timezone=True)
    # In an UPDATE, SQLAlchemy keeps parameters named like columns to itself: hence given_….
    arrays = [
        sa.bindparam("given_id", type_=postgresql.ARRAY(table.id.type)),
        *(sa.bindparam(f"given_{name}", type_=postgresql.ARRAY(sa.Text)) for name in names),
        sa.bindparam("given_close_time", type_=postgresql.ARRAY(time)),
    ]
    columns = [
        sa.column("id", table.id.type),
        *(sa.column(name, sa.Text) for name in names),
        sa.column("close_time", time),
    ]
    return sa.func.unnest(*arrays).table_valued(*columns, name="given").render_derived()


def _guard(table: MappedTable, given: sa.TableValuedAlias) -> sa.ColumnElement[bool]:
    """That a row is still what was seen: running, and the same run of the same workflow.

    Without a run id, the workflow id is all that tells one use of a row from the next.
    """
    same_row = table.id == given.c.id
    same_workflow = sa.cast(table.workflow_id, sa.Text) == given.c.workflow_id
    same_run = table.run_id.is_not_distinct_from(sa.cast(given.c.run_id, table.run_id.type))
    return sa.and_(same_row, table.is_running, same_workflow, same_run)


def _journal(
    table: MappedTable, given: sa.TableValuedAlias, locked: sa.CTE, finished: sa.CTE
) -> sa.CTE:
    values: dict[str, sa.ColumnElement[Any]] = {
        "pass_id": sa.bindparam("pass_id", type_=sa.Uuid),
        "table_name": sa.literal(table.full_name),
        "row_id": sa.cast(finished.c.id, sa.Text),
        "workflow_id": given.c.workflow_id,
        "run_id": given.c.run_id,
        "old_status": locked.c.status,
        "new_status": finished.c.status,
        "old_completed_at": locked.c.completed_at,
        "new_completed_at": finished.c.completed_at,
        "old_error_message": locked.c.error_message,
        "new_error_message": finished.c.error_message,
        "temporal_status": given.c.evidence,
        "final_run_id": given.c.final_run_id,
        "close_time": given.c.close_time,
    }
    rows = sa.select(*values.values()).select_from(
        sa.join(finished, locked, finished.c.id == locked.c.id).join(
            given, given.c.id == finished.c.id
        )
    )
    return sa.insert(changes).from_select(list(values), rows).cte("journalled")


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


def _concerns_a_row(error: DBAPIError) -> bool:
    return str(getattr(error.orig, "sqlstate", "")).startswith(_ROW_ERRORS)
