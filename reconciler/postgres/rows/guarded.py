"""One guarded write, and whether the rows say afterwards what was written.

A trigger may keep a row from being updated, give it another status, put the old one back or delete
it. Such a write is rolled back: nothing is counted or journalled that is not in the row. Where
there are triggers, the rows are read once more when all of them have been at work.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import asyncpg
import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncEngine

from reconciler.core.text import one_line
from reconciler.postgres.connection.driver import Statement, compiled, fetch_within, transaction
from reconciler.postgres.rows.rejection import Concern, concern_of
from reconciler.postgres.rows.standing import standing_now
from reconciler.postgres.schema import changes
from reconciler.postgres.table.mapping import MappedTable

SKIPPED = "the row was not updated: a trigger skipped it"
UNNOTED = "the row was not journalled: a trigger of reconciler.changes skipped it"
_NOW = "SET CONSTRAINTS ALL IMMEDIATE"


@dataclass(frozen=True, slots=True)
class Attempt:
    """What one statement did, by the numbers of the rows that it was asked to write."""

    #: The status that each row has now, if the statement returns it. A row in neither was not as
    #: it was seen: a lost race.
    written: Mapping[int, str | None] = field(default_factory=dict)
    #: Why a row did not keep what was written; then the statement was rolled back.
    spoiled: Mapping[int, str] = field(default_factory=dict)


class _Spoiled(Exception):
    def __init__(self, why: Mapping[int, str]) -> None:
        super().__init__()
        self.why = why


class Unanswered(Exception):
    """The connection was lost while a COMMIT was under way: nobody knows what has become of it."""

    def __init__(self, error: Exception) -> None:
        super().__init__()
        self.error = error


class GuardedWrite:
    """A statement that yields `what_was_done`, in a transaction of its own each time."""

    def __init__(
        self, engine: AsyncEngine, table: MappedTable, write: sa.Select[Any], *, journalled: bool
    ) -> None:
        self._engine, self._statement = engine, compiled(write, engine)
        self._standing: Statement | None = None
        if table.relation.has_triggers:
            self._standing = compiled(standing_now(table, journalled=journalled), engine)
        self._finds_keys = table.relation.finds_keys

    async def run(self, given: Mapping[str, Any]) -> Attempt:
        """Write, look, and commit if all rows say what was written.

        Raises what the driver does, or `Unanswered`.
        """
        done: Attempt | None = None
        try:
            async with transaction(self._engine, writing=True) as driver:
                done = Attempt(await self._write(driver, given))
        except _Spoiled as error:
            return Attempt(spoiled=error.why)
        except Exception as error:
            if done is not None and concern_of(error) is Concern.LOST:
                raise Unanswered(error) from error
            raise
        return done

    async def _write(self, driver: Any, given: Mapping[str, Any]) -> Mapping[int, str | None]:
        """What was written. Raises `_Spoiled`, to roll it back."""
        (done,) = await fetch_within(driver, self._statement, given)
        numbers = done["numbers"] or ()
        wanted = done.get("wanted")
        written = dict(zip(numbers, wanted, strict=True)) if wanted else dict.fromkeys(numbers)
        spoiled: dict[int, str] = {}
        if done["locked"]:
            spoiled = dict.fromkeys(set(done["locked"]).difference(numbers), SKIPPED)
        if done["changed"]:
            spoiled |= zip(done["changed"], map(_changed, done["statuses"]), strict=True)
        if not spoiled and numbers and self._standing:
            spoiled = _unnoted(done) or await self._spoiled_later(driver, self._standing, done)
        if spoiled:
            raise _Spoiled(spoiled)
        return written

    async def _spoiled_later(
        self, driver: Any, standing: Statement, done: asyncpg.Record
    ) -> dict[int, str]:
        """What triggers have made of the rows since, which RETURNING does not show."""
        await driver.execute(_NOW)  # or deferred ones would come with the COMMIT
        given = {"ids": done["ids"], "noted": done.get("noted")}
        rows = await fetch_within(driver, standing, given)
        # Where no index finds them all, those that are not running again are not looked for.
        now = {place: statuses or () for place, statuses in rows if statuses or self._finds_keys}
        return {
            number: _later(now[place])
            for place, (number, wanted) in enumerate(
                zip(done["numbers"], done["wanted"], strict=True), start=1
            )
            if wanted not in now.get(place, [wanted])
        }


def _unnoted(done: asyncpg.Record) -> dict[int, str]:
    """The rows without a line in the journal, where each is to have one."""
    numbers = done["numbers"]
    noted = done.get("noted_rows", numbers) or ()
    if len(noted) == len(numbers):
        return {}
    rows = zip(numbers, done["row_ids"], strict=True)
    missing = [number for number, row_id in rows if row_id not in set(noted)]
    return dict.fromkeys(missing or numbers, UNNOTED)


def _changed(status: str | None) -> str:
    return f"a trigger changed the status to {_told(status)}"


def _later(statuses: Sequence[str | None]) -> str:
    if not statuses:
        return "a trigger deleted the row, or changed its key, after the update"
    return f"{_changed(statuses[0])} after the update"


def _told(status: str | None) -> str:
    return "null" if status is None else repr(one_line(status, 100))


@dataclass(frozen=True, slots=True)
class Checked:
    """What a write yields besides where triggers may spoil it later."""

    #: The key as the journal has it.
    row_id: sa.ColumnElement[str]
    #: The lines of the journal, if there are any.
    noted: sa.CTE | None


def noting(values: Mapping[str, sa.ColumnElement[Any]], table: MappedTable) -> sa.CTE:
    """Insert these values into the journal; returns its lines where they are to be checked."""
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
    """What a write yields, in one row: the numbers of the rows that it has written.

    Also of those that do not say what was wanted, with what they say; and of all that it locked, if
    it wrote fewer. `checked`: also the keys that they have now, and the lines of the journal;
    that or `with_wanted`: what was wanted. Arrays: a record per row would take the driver longer.
    """
    aggregate = sa.func.array_agg
    changed = written.c.new_status.is_distinct_from(wanted)
    fewer = sa.select(sa.func.count()).select_from(locked).scalar_subquery() > sa.func.count()
    every = sa.select(aggregate(number(locked))).scalar_subquery()
    columns: list[sa.ColumnElement[Any]] = (
        [aggregate(wanted).label("wanted")] if checked or with_wanted else []
    )
    if checked:
        columns += aggregate(written.c.id).label("ids"), aggregate(checked.row_id).label("row_ids")
        columns += _lines(checked.noted)
    return sa.select(
        aggregate(number(written)).label("numbers"),
        aggregate(number(written)).filter(changed).label("changed"),
        aggregate(written.c.new_status).filter(changed).label("statuses"),
        # A branch that is not taken costs nothing.
        sa.case((fewer, every)).label("locked"),
        *columns,
    ).select_from(written)


def _lines(noted: sa.CTE | None) -> Iterator[sa.ColumnElement[Any]]:
    """The lines' ids, and the keys of their rows, if anything is journalled."""
    if noted is not None:
        for name, values in {"noted": noted.c.id, "noted_rows": noted.c.row_id}.items():
            yield sa.select(sa.func.array_agg(values)).scalar_subquery().label(name)
