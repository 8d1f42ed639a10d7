"""What earlier passes over the same table show: the heartbeat, the sweep, where workflows were.

Each query reads a few rows however many passes the feed has made: see the indexes in `schema.py`.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql
from sqlalchemy.ext.asyncio import AsyncEngine

from reconciler.core.errors import DatabaseUnfit
from reconciler.core.report.request import PassRequest
from reconciler.postgres.connection.engine import translated
from reconciler.postgres.connection.queries import fetch
from reconciler.postgres.journal.schema_check import check_readable
from reconciler.postgres.schema import found_in, is_good, is_not_of_feed, is_whole, passes

#: Passes in which a namespace is looked for first.
RECENT = 1000


class EarlierPasses:
    """The recorded passes over one table and namespace."""

    def __init__(self, engine: AsyncEngine, of: Mapping[str, str]) -> None:
        """`of`: the values of the columns `table_name` and `namespace`."""
        self._engine, self._of = engine, of

    async def last_good(self, *columns: sa.ColumnElement[Any]) -> Any:
        """The columns of the last good pass over every row; None if there was none yet."""
        # If the database's clock was set back, a pass from before would hide all later ones.
        past = passes.c.finished_at <= sa.func.clock_timestamp()
        good = is_good(passes.c.outcome), is_whole(passes.c.mode), past
        last = sa.select(*columns).where(*self._same_table(), *good)
        rows = await self._read(last.order_by(passes.c.finished_at.desc()).limit(1))
        return rows[0] if rows else None

    async def found_in(self, namespaces: Collection[str]) -> Collection[str]:
        """Of namespaces, by id, those in which a pass over the table found workflows.

        None if the history cannot be read, as in a dry run before `reconciler migrate`.
        """
        try:
            await check_readable(self._engine)
        except DatabaseUnfit:
            return set()
        same_table = passes.c.table_name == self._of["table_name"]
        every = sa.select(found_in().label("found_in")).where(same_table)
        newest = every.order_by(passes.c.started_at.desc()).limit(RECENT)
        # The index is quick about a namespace of few passes, not about that of millions. In one
        # query with an OR, PostgreSQL 18 would not use it.
        found = await self._found_in(newest.subquery(), namespaces)
        if missing := set(namespaces) - found:
            found |= await self._found_in(every.subquery(), missing)
        return found

    async def _found_in(self, of: sa.Subquery, namespaces: Collection[str]) -> set[str]:
        asked = sa.func.unnest(sa.literal(list(namespaces), postgresql.ARRAY(sa.Text)))
        each = asked.table_valued("id").render_derived()
        holds = of.c.found_in.op("?", is_comparison=True)(each.c.id)
        query = sa.select(each.c.id).where(sa.exists().where(holds))
        return {id_ for (id_,) in await self._read(query)}

    def unfinished(self, request: PassRequest) -> sa.Select[Any]:
        """The ids of the passes of this request that can be resumed."""
        same = passes.c.mode == request.mode, passes.c.asked.contains(request.asked)
        resumable = is_not_of_feed(passes.c.mode), passes.c.cursor.is_not(None)
        return sa.select(passes.c.id).where(*self._same_table(), *same, *resumable)

    async def _read(self, query: sa.Select[Any]) -> Sequence[Any]:
        with translated("read reconciler.passes"):
            return await fetch(self._engine, query)

    def _same_table(self) -> list[sa.ColumnElement[bool]]:
        return [passes.c[name] == value for name, value in self._of.items()]
