"""Which rows are stuck, or about to be lost, for people and scripts. Reads only.

An entry is shown only if its row is running now.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Iterator, Mapping, Sequence
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import array
from sqlalchemy.ext.asyncio import AsyncEngine

from reconciler.core.stuck.condition import Group, Groups, Reason, RowAtRisk, StuckRow
from reconciler.core.stuck.summary import ALL, Selection
from reconciler.postgres.connection.encoding import as_bytes, shown
from reconciler.postgres.connection.engine import translated
from reconciler.postgres.connection.queries import fetch
from reconciler.postgres.journal.stuck.entries import (
    REASONS,
    by_key_or_text,
    has_running_row,
    of_scope,
)
from reconciler.postgres.schema import at_risk, stuck
from reconciler.postgres.table.mapping import MappedTable

#: Rows read by one statement.
PAGE = 5000


class StuckReader:
    """The entries of one configuration and namespace whose rows are running.

    Every method raises `DatabaseUnusable`.
    """

    def __init__(
        self,
        engine: AsyncEngine,
        table: MappedTable,
        namespace: str,
        milliseconds: int | None = None,
    ) -> None:
        """`namespace`: see `MappedTable.scope_namespace`.

        `milliseconds`: a limit for each statement, in place of the engine's.
        """
        self._engine, self._table, self._namespace = engine, table, namespace
        self._milliseconds = milliseconds

    async def counts(self, which: Selection = ALL) -> Mapping[Reason, int]:
        """How many rows are stuck, by reason."""
        query = sa.select(stuck.c.reason, sa.func.count()).group_by(stuck.c.reason)
        found = await self._read(query.where(*_conditions(which)), stuck)
        return {Reason(reason): rows for reason, rows in found}

    async def groups(self, which: Selection = ALL, limit: int | None = None) -> Groups:
        """Rows of one reason, type and cause together, the largest first."""
        names = "reason", "workflow_type", "cause"
        by = [stuck.c[name] for name in names]
        rows, since = sa.func.count().label("rows"), sa.func.min(stuck.c.since).label("since")
        # Before the limit applies.
        totals = sa.func.count().over(), sa.cast(sa.func.sum(rows).over(), sa.BigInteger)
        place = sa.func.row_number().over(order_by=(rows.desc(), since, *by)).label("place")
        columns = *self._texts(stuck, names), rows, since, place, _oldest().label("oldest")
        query = sa.select(*totals, *columns).group_by(*by).order_by(place).limit(limit)
        found = await self._read(query.where(*_conditions(which)), stuck, self._with_oldest)
        groups = [
            Group(
                reason=row["reason"],
                workflow_type=row["workflow_type"],
                text=row["cause"],
                rows=row["rows"],
                oldest_since=row["since"],
                oldest_id=row["workflow_id"],
                oldest_text=row["text"],
            )
            for row in self._fields(found)
        ]
        return Groups(groups, *(found[0][:2] if found else (0, 0)))

    def _with_oldest(self, groups: sa.Select[Any]) -> sa.Select[Any]:
        """The groups, each with its oldest row, which is found by its key."""
        found, one = groups.subquery(), stuck.alias()
        own = of_scope(one, self._table, self._namespace), one.c.row_id == found.c.oldest[2]
        texts = self._texts(one, ("workflow_id", "text"))
        joined = found.join(one, sa.and_(*own))
        return sa.select(*found.c, *texts).select_from(joined).order_by(found.c.place)

    async def rows(
        self, which: Selection = ALL, limit: int | None = None
    ) -> AsyncGenerator[Sequence[StuckRow], None]:
        """The stuck rows, page by page, those first that have been so for longest.

        Their ids are text.
        """
        row_id = as_bytes(stuck.c.row_id)
        place = sa.tuple_(stuck.c.since, row_id)
        names = ("workflow_id", "run_id", "workflow_type", "reason", "text", "cause")
        query = sa.select(
            stuck.c.since, row_id.label("row_id"), stuck.c.seen, *self._texts(stuck, names)
        )
        query = query.where(*_conditions(which)).order_by(stuck.c.since, row_id)
        after: sa.ColumnElement[bool] = sa.true()
        while limit is None or limit > 0:
            size = PAGE if limit is None else min(PAGE, limit)
            page = await self._read(query.where(after).limit(size), stuck)
            rows = [StuckRow(**values) for values in self._fields(page)]
            if rows:
                yield rows
            if len(page) < size:
                return
            limit = None if limit is None else limit - size
            after = place > sa.tuple_(*page[-1][:2])

    async def at_risk(self, limit: int | None = None) -> Sequence[RowAtRisk]:
        """The rows at risk, those first whose outcome is lost first. Their ids are text."""
        row_id = at_risk.c.row_id
        query = sa.select(
            at_risk.c.since,
            at_risk.c.seen,
            at_risk.c.lost_at,
            *self._texts(at_risk, ("row_id", "workflow_id", "reason", "text")),
        )
        soonest = at_risk.c.lost_at.asc().nulls_last(), at_risk.c.since, row_id
        found = await self._read(query.order_by(*soonest).limit(limit), at_risk)
        return [RowAtRisk(**values) for values in self._fields(found)]

    async def counts_at_risk(self) -> Mapping[str, int]:
        """How many rows are at risk, by reason."""
        query = sa.select(at_risk.c.reason, sa.func.count()).group_by(at_risk.c.reason)
        return dict(await self._read(query, at_risk))

    async def _read(
        self,
        query: sa.Select[Any],
        entries: sa.Table,
        complete: Callable[[sa.Select[Any]], sa.Select[Any]] = lambda query: query,
    ) -> Sequence[Any]:
        """The rows of a query about the entries whose rows are running.

        `complete`: what is added to the result of that query.
        """
        query = query.where(of_scope(entries, self._table, self._namespace))

        async def read(as_text: bool) -> Sequence[Any]:  # noqa: FBT001
            running = has_running_row(self._table, entries, as_text=as_text)
            with translated("read reconciler.stuck"):
                return await fetch(
                    self._engine,
                    complete(query.where(running)),
                    milliseconds=self._milliseconds,
                )

        return await by_key_or_text(read)

    def _texts(self, entries: sa.FromClause, names: Sequence[str]) -> list[sa.ColumnElement[Any]]:
        """Columns to select: a text that cannot be read must not hide the other rows."""
        return [self._table.read_text(entries.c[name]).label(name) for name in names]

    def _fields(self, found: Sequence[Any]) -> Iterator[dict[str, Any]]:
        for row in found:
            values = row._asdict()
            for name, value in values.items():
                if isinstance(value, bytes):
                    values[name] = shown(value, self._table.codec)
            if "cause" in values:
                values["reason"] = Reason(values["reason"])
            yield values


def _oldest() -> sa.ColumnElement[Any]:
    """Since when the oldest row of a group has been stuck, and its key: in one pass, unsorted."""
    utc = sa.func.timezone(sa.literal_column("'UTC'"), stuck.c.since)
    since = sa.func.to_char(utc, sa.literal_column("'YYYY-MM-DD HH24:MI:SS.US'"))
    return sa.func.min(array([sa.collate(since, "C"), sa.collate(stuck.c.row_id, "C")]))


def _conditions(which: Selection) -> Iterator[sa.ColumnElement[bool]]:
    yield stuck.c.reason.in_(which.reasons or REASONS)
    if which.workflow_type is not None:
        yield stuck.c.workflow_type == which.workflow_type
    if which.older_than:
        yield stuck.c.since <= sa.func.clock_timestamp() - which.older_than
