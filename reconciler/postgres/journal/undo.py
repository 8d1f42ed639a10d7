"""The journal as an undo needs it: read a page, put rows back if they still are as they were left.

Old and new values never leave the database: rows are compared with the journal, and put back from
it, where both are. So whatever a column can hold is put back exactly.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property, partial
from operator import attrgetter
from typing import Any
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql
from sqlalchemy.ext.asyncio import AsyncEngine

from reconciler.core.undo import Change, RestoreResult, RowState, until_first_repeat
from reconciler.postgres.connection.driver import Statement, compiled, fetch
from reconciler.postgres.connection.engine import translated
from reconciler.postgres.rows.guarded import Attempt, Checked, GuardedWrite, noting, what_was_done
from reconciler.postgres.rows.halving import Halving
from reconciler.postgres.rows.standing import has_values, same_row, same_run
from reconciler.postgres.rows.write import labelled
from reconciler.postgres.schema import changes
from reconciler.postgres.table.mapping import MappedTable

#: The evidence for what an undo writes: the operator said so, and not Temporal.
EVIDENCE = "UNDO"


class PostgresUndo:
    """Implements `Journal` over the changes of one mapped table."""

    def __init__(self, engine: AsyncEngine, table: MappedTable) -> None:
        self._engine, self._table = engine, table
        self._halving = Halving(f"write {table.full_name}")

    @cached_property
    def _write(self) -> GuardedWrite:
        write = restoring_write(self._table)
        return GuardedWrite(self._engine, self._table, write, journalled=True)

    async def page(self, pass_id: str, before: int | None, limit: int) -> Sequence[Change]:
        """The next changes of a pass, newest first, each of another row."""
        row = changes.c
        query = sa.select(row.id, row.row_id, row.workflow_id, row.run_id, row.old_status)
        query = query.where(row.pass_id == UUID(pass_id))
        if before is not None:
            query = query.where(row.id < before)
        rows = await self._read(query.order_by(row.id.desc()).limit(limit))
        return until_first_repeat([Change(*row) for row in rows])

    async def row_states(self, of: Sequence[int]) -> Mapping[int, RowState | str]:
        """How the rows of these changes stand now; of one that cannot be read, why."""
        found = dict[int, RowState | str]()

        async def attempt(some: Sequence[int]) -> Attempt:
            rows = await fetch(self._engine, self._standing, {"ids": list(some)})
            found.update((change, RowState(*standing)) for change, *standing in rows)
            return Attempt(dict.fromkeys(range(len(some))))

        done = await Halving(f"read {self._table.full_name}").write(attempt, of)
        if done.failure is not None:
            raise done.failure
        return found | {of[place]: why for place, why in done.refused.items()}

    @cached_property
    def _standing(self) -> Statement:
        table, undone = self._table, _undone(self._table)
        row = undone.c
        joined = sa.outerjoin(undone, table.table, same_row(table, undone))
        query = sa.select(
            row.id,
            table.id.is_not(sa.null()),
            same_run(table, undone),
            sa.and_(*has_values(table, undone, "old")),
            sa.and_(*has_values(table, undone, "new")),
        ).select_from(joined)
        return compiled(query.where(_is_given(undone)), self._engine)

    async def restore(self, pass_id: str, of: Sequence[int]) -> RestoreResult:
        """Put back, and journal as changes of `pass_id`, the rows that are as they were left.

        Does not wait for a row that another transaction has locked: whoever locked it is writing
        it. Raises `DatabaseUnusable` if nothing was committed; otherwise what it returns has the
        failure.
        """
        done = await self._halving.write(partial(self._attempt, UUID(pass_id)), of)
        if done.failure is not None and not done.written and not done.refused:
            raise done.failure
        return RestoreResult(
            {of[place]: status or "" for place, status in done.written.items()},
            {of[place]: why for place, why in done.refused.items()},
            frozenset(of[place] for place in done.untried),
            done.failure,
        )

    async def _attempt(self, pass_id: UUID, of: Sequence[int]) -> Attempt:
        attempt = await self._write.run({"pass_id": pass_id, "ids": list(of)})
        places = {change: place for place, change in enumerate(of)}
        return Attempt(
            {places[change]: status for change, status in attempt.written.items()},
            {places[change]: why for change, why in attempt.spoiled.items()},
        )

    async def _read(self, query: sa.Select[Any]) -> Sequence[Any]:
        with translated("read reconciler.changes"):
            async with self._engine.connect() as connection:
                await connection.execution_options(postgresql_readonly=True)
                rows: Sequence[Any] = (await connection.execute(query)).all()
                return rows


def restoring_write(table: MappedTable) -> sa.Select[Any]:
    """An undo's write, a compare-and-set like a pass's: lock what is as it was left, put it back.

    As there, the guard stands twice: `locked` evaluates it on the newest version of each row, and
    the update repeats the promise. Yields `what_was_done`.
    """
    undone = _undone(table)
    row = undone.c
    as_left = sa.and_(
        same_row(table, undone),
        same_run(table, undone),
        *has_values(table, undone, "new"),
    )
    locked = (
        sa.select(row.id.label("change_id"), *labelled("old", table.written()))
        .select_from(sa.join(table.table, undone, as_left))
        .where(_is_given(undone))
        .with_for_update(key_share=True, skip_locked=True, of=table.table)
        .cte(table.beside("locked"))
    )
    restored = (
        table.update(row.old_status, row.old_completed_at, row.old_error_message)
        .where(row.id == locked.c.change_id, as_left)
        # All that is journalled: a join of what was locked with what was put back costs more than
        # either, as PostgreSQL cannot know how many rows they are.
        .returning(
            *locked.c,
            *labelled("new", table.written()),
            row.row_id,
            row.workflow_id,
            row.run_id,
            table.id.label("id"),
            row.old_status.label("wanted"),
        )
        .cte(table.beside("restored"))
    )
    journal = _journal(table, restored)
    checked = Checked(restored.c.row_id, journal)
    number, triggers = attrgetter("c.change_id"), table.relation.has_triggers
    return what_was_done(
        locked, restored, number, restored.c.wanted, checked if triggers else None, with_wanted=True
    ).add_cte(journal)


def _undone(table: MappedTable) -> sa.FromClause:
    """The changes that are to be put back; the same table is where that is journalled."""
    return changes.alias(table.beside("undone"))


def _is_given(undone: sa.FromClause) -> sa.ColumnElement[bool]:
    return undone.c.id == sa.any_(sa.bindparam("ids", type_=postgresql.ARRAY(sa.BigInteger)))


def _journal(table: MappedTable, restored: sa.CTE) -> sa.CTE:
    names = [c.name for c in restored.c if c.name not in ("change_id", "id", "wanted")]
    told: dict[str, sa.ColumnElement[Any]] = {
        "pass_id": sa.bindparam("pass_id", type_=sa.Uuid),
        "table_name": sa.literal(table.identity),
        "temporal_status": sa.literal(EVIDENCE),
        **{name: restored.c[name] for name in names},
    }
    return noting(told, table)
