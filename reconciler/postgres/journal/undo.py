"""The journal as an undo needs it: read a page, restore rows that have not changed since.

Old and new values never leave the database: rows are compared with the journal, and restored from
it, by SQL. So every value that a column can hold is restored exactly.
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

from reconciler.core.model import Mode
from reconciler.core.text import or_null
from reconciler.core.undo import Change, RestoreResult, RowState, until_first_repeat
from reconciler.postgres.connection.engine import translated
from reconciler.postgres.connection.queries import fetch
from reconciler.postgres.rows.guarded import (
    Attempt,
    Checked,
    GuardedWrite,
    journal_insert,
    what_was_done,
)
from reconciler.postgres.rows.halving import Halving
from reconciler.postgres.rows.standing import has_values, same_row, same_run
from reconciler.postgres.rows.write import labelled
from reconciler.postgres.schema import changes
from reconciler.postgres.table.mapping import MappedTable
from reconciler.postgres.table.run_row import update

#: The evidence for what an undo writes: the operator's decision, not Temporal's.
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

    @cached_property
    def _standing(self) -> sa.Select[Any]:
        return _standing(self._table)

    async def page(self, pass_id: str, before: int | None, limit: int) -> Sequence[Change]:
        """The next changes of a pass, newest first, each of another row."""
        row = changes.c
        query = sa.select(row.id, row.row_id, row.workflow_id, row.run_id, row.old_status)
        query = query.where(row.pass_id == UUID(pass_id))
        if before is not None:
            query = query.where(row.id < before)
        with translated("read reconciler.changes"):
            rows = await fetch(self._engine, query.order_by(row.id.desc()).limit(limit))
        return until_first_repeat([Change(*row) for row in rows])

    async def row_states(self, of: Sequence[int]) -> Mapping[int, RowState | str]:
        """The state of the rows of these changes; for an unreadable row, why."""
        found = dict[int, RowState | str]()

        async def attempt(some: Sequence[int]) -> Attempt:
            rows = await fetch(self._engine, self._standing, {"given_ids": list(some)})
            found.update((change, RowState(*standing)) for change, *standing in rows)
            return Attempt(dict.fromkeys(range(len(some))))

        done = await Halving(f"read {self._table.full_name}").write(attempt, of)
        if done.failure is not None:
            raise done.failure
        return found | {of[place]: why for place, why in done.refused.items()}

    async def restore(self, pass_id: str, of: Sequence[int]) -> RestoreResult:
        """Restore the rows that have not changed since, and journal them as changes of `pass_id`.

        Skips a row that another transaction has locked. Raises `DatabaseUnusable` if nothing was
        committed; otherwise the failure is in the result.
        """
        done = await self._halving.write(partial(self._attempt, UUID(pass_id)), of)
        if done.failure is not None and not done.written and not done.refused:
            raise done.failure
        return RestoreResult(
            {of[place]: or_null(status) for place, status in done.written.items()},
            {of[place]: why for place, why in done.refused.items()},
            frozenset(of[place] for place in done.untried),
            done.failure,
        )

    async def _attempt(self, pass_id: UUID, of: Sequence[int]) -> Attempt:
        attempt = await self._write.run({"given_pass_id": pass_id, "given_ids": list(of)})
        places = {change: place for place, change in enumerate(of)}
        return Attempt(
            {places[change]: status for change, status in attempt.written.items()},
            {places[change]: why for change, why in attempt.spoiled.items()},
        )


def restoring_write(table: MappedTable) -> sa.Select[Any]:
    """An undo's write, a compare-and-set like a pass's: lock unchanged rows, restore, journal.

    As there, the guard is there twice: `locked` evaluates it on the newest version of each row, and
    the update repeats the promise. Returns `what_was_done`.
    """
    undone = _undone(table)
    row = undone.c
    same = same_row(table, undone), same_run(table, undone)
    unchanged = sa.and_(*same, *has_values(table, undone, "new"))
    locked = (
        sa.select(row.id.label("change_id"), *labelled("old", table.written()))
        .select_from(sa.join(table.table, undone, unchanged))
        .where(_is_given(undone))
        .with_for_update(key_share=True, skip_locked=True, of=table.table)
        .cte(table.beside("locked"))
    )
    restored = (
        update(table, row.old_status, row.old_completed_at, row.old_error_message)
        .where(row.id == locked.c.change_id, unchanged)
        # Everything the journal needs: a join of the locked and the restored rows would cost more
        # than either, as PostgreSQL cannot know how many rows they are.
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
    checked = Checked(restored.c.row_id, journal) if table.relation.has_triggers else None
    number = attrgetter("c.change_id")
    return what_was_done(
        locked, restored, number, restored.c.wanted, checked, with_wanted=True
    ).add_cte(journal)


def _standing(table: MappedTable) -> sa.Select[Any]:
    """A change; whether its row exists, is about the same run, has the old and the new values."""
    undone = _undone(table)
    return (
        sa.select(
            undone.c.id,
            table.id.is_not(sa.null()),
            same_run(table, undone),
            sa.and_(*has_values(table, undone, "old")),
            sa.and_(*has_values(table, undone, "new")),
        )
        .select_from(sa.outerjoin(undone, table.table, same_row(table, undone)))
        .where(_is_given(undone))
    )


def _undone(table: MappedTable) -> sa.FromClause:
    """The changes to undo, by a name of their own: the undo inserts into the same table."""
    return changes.alias(table.beside("undone"))


def _is_given(undone: sa.FromClause) -> sa.ColumnElement[bool]:
    return undone.c.id == sa.any_(sa.bindparam("given_ids", type_=postgresql.ARRAY(sa.BigInteger)))


def _journal(table: MappedTable, restored: sa.CTE) -> sa.CTE:
    names = [c.name for c in restored.c if c.name not in ("change_id", "id", "wanted")]
    values: dict[str, sa.ColumnElement[Any]] = {
        "pass_id": sa.bindparam("given_pass_id", type_=sa.Uuid),
        "table_name": sa.literal(table.identity),
        "temporal_status": sa.literal(EVIDENCE),
        "found_by": sa.literal(Mode.UNDO.value),
        **{name: restored.c[name] for name in names},
    }
    return journal_insert(values, table)
