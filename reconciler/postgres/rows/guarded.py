"""One guarded write, and a check that the rows contain what was written.

A trigger may skip a row, give it another status, restore the old one or delete the row. Such a
write is rolled back: nothing is counted or journalled that is not in the row. If there are
triggers, the rows are read again after all of them have run.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from reconciler.core.text import one_line
from reconciler.postgres.rows.rejection import Concern, concern_of
from reconciler.postgres.rows.standing import standing_now
from reconciler.postgres.schema import changes
from reconciler.postgres.table.mapping import MappedTable

SKIPPED = "the row was not updated: a trigger skipped it"
NOT_JOURNALLED = "the row was not journalled: a trigger of reconciler.changes skipped it"
_NOW = sa.text("SET CONSTRAINTS ALL IMMEDIATE")
# A plan for the arrays of this batch takes longer to make and to execute than a generic one: it
# expects hundreds of rows where each is found by its key (PostgreSQL 18: a third of a write).
_ANY_BATCH = sa.text("SET LOCAL plan_cache_mode = force_generic_plan")
_Done: TypeAlias = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Attempt:
    """What one statement did, by the numbers of the rows that it was given."""

    #: The status that each row has now, if the statement returns it. A row in neither has changed
    #: since it was read: a lost race.
    written: Mapping[int, str | None] = field(default_factory=dict)
    #: Why a row does not contain what was written; then the statement was rolled back.
    spoiled: Mapping[int, str] = field(default_factory=dict)


class _Spoiled(Exception):
    def __init__(self, why: Mapping[int, str]) -> None:
        super().__init__()
        self.why = why


class Unanswered(Exception):
    """The connection was lost during a COMMIT: it is unknown whether that succeeded."""

    def __init__(self, error: Exception) -> None:
        super().__init__()
        self.error = error


class GuardedWrite:
    """A statement that returns `what_was_done`, in a transaction of its own each time."""

    def __init__(
        self, engine: AsyncEngine, table: MappedTable, write: sa.Select[Any], *, journalled: bool
    ) -> None:
        self._engine, self._statement = engine, write
        self._standing: sa.Select[Any] | None = None
        if table.relation.has_triggers:
            self._standing = standing_now(table, journalled=journalled)
        self._finds_keys = table.relation.finds_keys

    async def run(self, given: Mapping[str, Any]) -> Attempt:
        """Write, check, and commit if all rows contain what was written.

        Raises what SQLAlchemy does, or `Unanswered`.
        """
        done: Attempt | None = None
        try:
            async with self._engine.begin() as connection:
                await connection.execute(_ANY_BATCH)
                done = Attempt(await self._write(connection, given))
        except _Spoiled as error:
            return Attempt(spoiled=error.why)
        except Exception as error:
            if done is not None and concern_of(error) is Concern.LOST:
                raise Unanswered(error) from error
            raise
        return done

    async def rehearse(self, given: Mapping[str, Any], first: Sequence[sa.Executable]) -> Attempt:
        """What `run` would do, rolled back. `first` is executed before, in the same transaction.

        Raises what SQLAlchemy does.
        """
        async with self._engine.connect() as connection, connection.begin() as transaction:
            try:
                for statement in (*first, _ANY_BATCH):
                    await connection.execute(statement)
                written = await self._write(connection, given)
                await connection.execute(_NOW)
                return Attempt(written)
            except _Spoiled as error:
                return Attempt(spoiled=error.why)
            finally:
                await transaction.rollback()

    async def _write(
        self, connection: AsyncConnection, given: Mapping[str, Any]
    ) -> Mapping[int, str | None]:
        """The statuses written, by number. Raises `_Spoiled`, to roll back."""
        done = (await connection.execute(self._statement, given)).mappings().one()
        numbers = done["numbers"] or ()
        wanted = done.get("wanted")
        written = dict(zip(numbers, wanted, strict=True)) if wanted else dict.fromkeys(numbers)
        spoiled: dict[int, str] = {}
        if done["locked"]:
            spoiled = dict.fromkeys(set(done["locked"]).difference(numbers), SKIPPED)
        if done["changed"]:
            spoiled |= zip(done["changed"], map(_changed, done["statuses"]), strict=True)
        if not spoiled and numbers and self._standing is not None:
            spoiled = _not_journalled(done) or await self._spoiled_later(
                connection, self._standing, done
            )
        if spoiled:
            raise _Spoiled(spoiled)
        return written

    async def _spoiled_later(
        self, connection: AsyncConnection, standing: sa.Select[Any], done: _Done
    ) -> dict[int, str]:
        """What later triggers changed, which RETURNING does not show."""
        await connection.execute(_NOW)  # else deferred triggers run at the COMMIT
        given = {"ids": done["ids"], "lines": done.get("lines")}
        rows = (await connection.execute(standing, given)).all()
        # If no index finds them all, only rows that are running again are looked up.
        now = {place: statuses or () for place, statuses in rows if statuses or self._finds_keys}
        return {
            number: _later(now[place])
            for place, (number, wanted) in enumerate(
                zip(done["numbers"], done["wanted"], strict=True), start=1
            )
            if wanted not in now.get(place, [wanted])
        }


def _not_journalled(done: _Done) -> dict[int, str]:
    """The rows that have no line in the journal, if each must have one."""
    numbers = done["numbers"]
    journalled = done.get("line_rows", numbers) or ()
    if len(journalled) == len(numbers):
        return {}
    rows = zip(numbers, done["row_ids"], strict=True)
    missing = [number for number, row_id in rows if row_id not in set(journalled)]
    return dict.fromkeys(missing or numbers, NOT_JOURNALLED)


def _changed(status: str | None) -> str:
    return f"a trigger changed the status to {_shown(status)}"


def _later(statuses: Sequence[str | None]) -> str:
    if not statuses:
        return "a trigger deleted the row, or changed its key, after the update"
    return f"{_changed(statuses[0])} after the update"


def _shown(status: str | None) -> str:
    return "null" if status is None else repr(one_line(status, 100))


@dataclass(frozen=True, slots=True)
class Checked:
    """What a write returns in addition if triggers may spoil it later."""

    #: The key as the journal stores it.
    row_id: sa.ColumnElement[str]
    #: The lines of the journal, if it has any.
    lines: sa.CTE | None


def journal_insert(values: Mapping[str, sa.ColumnElement[Any]], table: MappedTable) -> sa.CTE:
    """Insert these values into the journal; returns the lines if they must be checked."""
    insert = sa.insert(changes).from_select(list(values), sa.select(*values.values()))
    name = table.beside("journalled")
    if not table.relation.has_triggers:
        return insert.cte(name)
    return insert.returning(changes.c.id, changes.c.row_id).cte(name)


def what_was_done(
    locked: sa.CTE,
    written: sa.CTE,
    number: Callable[[sa.CTE], sa.ColumnElement[Any]],
    wanted: sa.ColumnElement[Any],
    checked: Checked | None,
    *,
    with_wanted: bool = False,
) -> sa.Select[Any]:
    """The result of a write, in one row: the numbers of the rows that it wrote.

    Also the rows with another status than the wanted one, and that status; and all rows that it
    locked, if it wrote fewer. `checked`: also the keys that the rows have now, and the lines of
    the journal. `checked` or `with_wanted`: also the wanted statuses. These are arrays because a
    record per row would take the driver longer.
    """
    aggregate = sa.func.array_agg
    changed = written.c.new_status.is_distinct_from(wanted)
    fewer = sa.select(sa.func.count()).select_from(locked).scalar_subquery() > sa.func.count()
    every = sa.select(aggregate(number(locked))).scalar_subquery()
    columns: list[sa.ColumnElement[Any]] = (
        [aggregate(wanted).label("wanted")] if checked or with_wanted else []
    )
    if checked:
        # As the driver reads them: an enum may have got more values since the table was mapped.
        ids = sa.type_coerce(aggregate(written.c.id), sa.types.NullType())
        columns += ids.label("ids"), aggregate(checked.row_id).label("row_ids")
        columns += _lines(checked.lines)
    return sa.select(
        aggregate(number(written)).label("numbers"),
        aggregate(number(written)).filter(changed).label("changed"),
        aggregate(written.c.new_status).filter(changed).label("statuses"),
        # The array is only built if this is true.
        sa.case((fewer, every)).label("locked"),
        *columns,
    ).select_from(written)


def _lines(lines: sa.CTE | None) -> Iterator[sa.ColumnElement[Any]]:
    """The ids of the lines, and the keys of their rows, if the write is journalled."""
    if lines is not None:
        for name, values in {"lines": lines.c.id, "line_rows": lines.c.row_id}.items():
            yield sa.select(sa.func.array_agg(values)).scalar_subquery().label(name)
