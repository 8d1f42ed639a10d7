"""One guarded write, and whether the rows say afterwards what was written.

A trigger may keep a row from being updated, give it another status, put the old one back or delete
it. Such a write is rolled back: nothing is counted or journalled that is not in the row.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import asyncpg
import sqlalchemy as sa
from sqlalchemy.dialects import postgresql
from sqlalchemy.ext.asyncio import AsyncEngine

from reconciler.core.text import one_line
from reconciler.postgres.driver import Statement, compiled, fetch_within, transaction
from reconciler.postgres.mapping import MappedTable
from reconciler.postgres.types import as_text

SKIPPED = "the row was not updated: a trigger skipped it"
_NOW = "SET CONSTRAINTS ALL IMMEDIATE"


@dataclass(frozen=True, slots=True)
class Attempt:
    """What one statement did, by the numbers of the rows that it was asked to write."""

    #: The status that each row has now, if the statement tells. A row in neither was not as it was
    #: seen: a lost race.
    written: Mapping[int, str | None] = field(default_factory=dict)
    #: Why a row did not keep what was written; then the statement was rolled back.
    spoiled: Mapping[int, str] = field(default_factory=dict)


class _Spoiled(Exception):
    def __init__(self, why: Mapping[int, str]) -> None:
        super().__init__()
        self.why = why


class GuardedWrite:
    """A statement that yields `what_was_done`, in a transaction of its own each time."""

    def __init__(self, engine: AsyncEngine, table: MappedTable, statement: Statement) -> None:
        self._engine, self._statement = engine, statement
        triggers = table.relation.has_after_triggers
        self._standing = compiled(standing_now(table), engine) if triggers else None

    async def run(self, given: Mapping[str, Any]) -> Attempt:
        """Write, look, and commit if all rows say what was written. Raises what the driver does."""
        try:
            async with transaction(self._engine, writing=True) as driver:
                return Attempt(await self._write(driver, given))
        except _Spoiled as error:
            return Attempt(spoiled=error.why)

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
            spoiled = await self._spoiled_later(driver, self._standing, done)
        if spoiled:
            raise _Spoiled(spoiled)
        return written

    async def _spoiled_later(
        self, driver: Any, standing: Statement, done: asyncpg.Record
    ) -> dict[int, str]:
        """What AFTER triggers have made of the rows, which RETURNING does not show."""
        await driver.execute(_NOW)  # or deferred ones would come with the COMMIT
        rows = await fetch_within(driver, standing, {"ids": done["ids"]})
        now = {place: statuses or () for place, statuses in rows}
        return {
            number: _later(now[place])
            for place, (number, wanted) in enumerate(
                zip(done["numbers"], done["wanted"], strict=True), start=1
            )
            if wanted not in now[place]
        }


def _changed(status: str | None) -> str:
    return f"a trigger changed the status to {_told(status)}"


def _later(statuses: Sequence[str | None]) -> str:
    if not statuses:
        return "a trigger deleted the row, or changed its key, after the update"
    return f"{_changed(statuses[0])} after the update"


def _told(status: str | None) -> str:
    return "null" if status is None else repr(one_line(status, 100))


def what_was_done(
    locked: sa.CTE,
    written: sa.CTE,
    number: Callable[[sa.CTE], sa.ColumnElement[Any]],
    wanted: sa.ColumnElement[Any],
    *,
    keys: bool,
    told: bool = False,
) -> sa.Select[Any]:
    """What a write yields, in one row: the numbers of the rows that it has written.

    Also of those that do not say what was wanted, with what they say; and of all that it locked, if
    it wrote fewer. `keys`: the keys that they have now; `keys` or `told`: what was wanted.
    Arrays, as a record per row would take the driver longer.
    """
    aggregate = sa.func.array_agg
    changed = written.c.new_status.is_distinct_from(wanted)
    fewer = sa.select(sa.func.count()).select_from(locked).scalar_subquery() > sa.func.count()
    every = sa.select(aggregate(number(locked))).scalar_subquery()
    return sa.select(
        aggregate(number(written)).label("numbers"),
        aggregate(number(written)).filter(changed).label("changed"),
        aggregate(written.c.new_status).filter(changed).label("statuses"),
        # A branch that is not taken costs nothing.
        sa.case((fewer, every)).label("locked"),
        *([aggregate(wanted).label("wanted")] if keys or told else []),
        *([aggregate(written.c.id).label("ids")] if keys else []),
    ).select_from(written)


def standing_now(table: MappedTable) -> sa.Select[Any]:
    """The statuses that the rows with the given keys have; none where there is no such row."""
    ids = sa.bindparam("ids", type_=postgresql.ARRAY(table.id.type))
    asked = sa.func.unnest(ids).table_valued(
        sa.column("id", table.id.type), with_ordinality="place", name="asked"
    )
    asked = asked.render_derived()
    now = sa.func.array_agg(as_text(table.status)).filter(table.id.is_not(None)).label("statuses")
    joined = sa.outerjoin(asked, table.table, table.id == asked.c.id)
    return sa.select(asked.c.place, now).select_from(joined).group_by(asked.c.place)
