"""The journal and the history, for people and scripts. Reads only.

Reads pages by key, newest first, each in a short transaction, so a journal of millions of changes
needs neither memory nor a long transaction.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Collection, Mapping, Sequence
from datetime import datetime
from types import SimpleNamespace
from typing import Any, cast
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncEngine

from reconciler.core.model import Mode
from reconciler.postgres.connection.dialect import PoolerSafeDialect
from reconciler.postgres.connection.encoding import as_bytes, shown
from reconciler.postgres.connection.engine import translated
from reconciler.postgres.connection.queries import fetch
from reconciler.postgres.journal.entries import StoredChange, StoredPass, Values
from reconciler.postgres.schema import changes, is_not_of_feed, is_over, judged_by, made_by, passes
from reconciler.postgres.table.mapping import MappedTable
from reconciler.postgres.table.scope import judged_columns
from reconciler.postgres.table.types import readable

#: Rows read by one statement.
PAGE = 500
#: Changes among which a table's newest are found, so that those of others do not make it slower.
AMONG = 10_000


class JournalReader:
    """Reads `reconciler.passes` and `reconciler.changes`."""

    def __init__(
        self, engine: AsyncEngine, milliseconds: int | None = None, scope: str | None = None
    ) -> None:
        """`milliseconds`: a limit for each statement, in place of the engine's.

        `scope`: only passes over it, and their changes, are found and listed; None: all.
        """
        self.engine, self._milliseconds = engine, milliseconds
        self._listed = None if scope is None else is_over(scope)

    async def find(self, prefix: str, limit: int) -> Sequence[StoredPass]:
        """The passes whose id has this prefix. Raises `DatabaseUnusable`, like all methods."""
        found = await self._read(self._passes(prefix).order_by(passes.c.id).limit(limit))
        return [StoredPass(*row) for row in found]

    async def last_writing(self, scope: str) -> tuple[UUID, int] | None:
        """The last pass over this scope that changed a row, and how many it changed."""
        # A pass from before revision 0003 does not name its table, but its changes do.
        older = sa.and_(passes.c.table_name.is_(None), changes.c.table_name == scope)
        newest = sa.select(changes.c.pass_id).join(passes).where(sa.or_(is_over(scope), older))
        newest = newest.order_by(changes.c.id.desc()).limit(1)
        count = sa.select(changes.c.pass_id, sa.func.count()).group_by(changes.c.pass_id)
        found = await self._read(count.where(changes.c.pass_id == newest.scalar_subquery()))
        return (found[0][0], found[0][1]) if found else None

    async def passes(
        self,
        limit: int,
        prefix: str = "",
        modes: Collection[Mode] = (),
        older_than: tuple[datetime, UUID] | None = None,
    ) -> AsyncGenerator[Sequence[StoredPass], None]:
        """The passes whose id has this prefix, newest first, page by page; of all modes, if none.

        `older_than`: the start and the id of the pass before the first. Passes of the feed do not
        make it slower to find others.
        """
        place = sa.tuple_(passes.c.started_at, passes.c.id)
        query = self._passes(prefix)
        if modes:
            query = query.where(passes.c.mode.in_(list(modes)))
        if modes and Mode.FEED not in modes:
            query = query.where(is_not_of_feed(passes.c.mode))  # for the index
        query = query.order_by(passes.c.started_at.desc(), passes.c.id.desc())
        after = sa.true() if older_than is None else place < sa.tuple_(*older_than)
        while limit > 0:
            read = await self._read(query.where(after).limit(min(PAGE, limit)))
            page = [StoredPass(*row) for row in read]
            if page:
                yield page
            if len(page) < PAGE:
                return
            limit -= PAGE
            after = place < sa.tuple_(page[-1].started_at, page[-1].id)

    async def changes(
        self, limit: int | None, pass_id: UUID | None = None, workflow_id: str | None = None
    ) -> AsyncGenerator[Sequence[StoredChange], None]:
        """The changes of a pass, of a workflow id, or all; newest first, page by page."""
        query = sa.select(*_CHANGE)
        if pass_id is not None:
            query = query.where(changes.c.pass_id == pass_id)
        elif self._listed is not None:
            query = query.where(made_by(self._listed))
        if workflow_id is not None:
            query = query.where(changes.c.workflow_id == workflow_id)
        async for page in self._pages(query, limit):
            yield page

    async def _pages(
        self, query: sa.Select[Any], limit: int | None
    ) -> AsyncGenerator[Sequence[StoredChange], None]:
        query = query.order_by(changes.c.id.desc())
        before: sa.ColumnElement[bool] = sa.true()
        while limit is None or limit > 0:
            read = await self._read(query.where(before).limit(min(PAGE, limit or PAGE)))
            page = self._changes(read)
            if page:
                yield page
            if len(page) < PAGE:
                return
            limit = None if limit is None else limit - PAGE
            before = changes.c.id < page[-1].id

    async def newest(
        self, scope: str, namespace: str, limit: int, since: datetime | None = None
    ) -> Sequence[StoredChange]:
        """The newest changes by passes over this scope: since then, or among the `AMONG` of all."""
        some = sa.select(changes)
        if since is None:
            some = some.order_by(changes.c.id.desc()).limit(AMONG)
        else:
            some = some.where(changes.c.changed_at >= since)
        newest = some.subquery("changes")
        ours = newest.join(passes, passes.c.id == newest.c.pass_id)
        query = sa.select(*map(_read_change, newest.c)).select_from(ours)
        query = query.where(is_over(scope, namespace)).order_by(newest.c.id.desc())
        return self._changes(await self._read(query.limit(limit)))

    async def last_changes(
        self, table: MappedTable, workflow_id: str
    ) -> Mapping[str, StoredChange]:
        """The last change of each row of a workflow id, by the row's key as text.

        Passes that judged the rows by other columns changed those, and do not count.
        """
        of_table = changes.c.table_name == table.identity
        same = judged_by(judged_columns(table.identity, table.mapping.names))
        judged = sa.or_(same, passes.c.table_name.is_(None))
        query = sa.select(*_CHANGE).where(changes.c.workflow_id == workflow_id)
        last: dict[str, StoredChange] = {}
        async for page in self._pages(query.where(of_table, made_by(judged)), None):
            for change in page:
                last.setdefault(change.row_id, change)
        return last

    def _passes(self, prefix: str) -> sa.Select[Any]:
        which = [] if self._listed is None else [self._listed]
        return _passes().where(_has_prefix(prefix), *which)

    def _changes(self, read: Sequence[Any]) -> Sequence[StoredChange]:
        codec = cast("PoolerSafeDialect", self.engine.dialect).codec
        return [_change(row, codec) for row in read]

    async def _read(self, query: sa.Select[Any]) -> Sequence[Any]:
        with translated("read the journal"):
            return await fetch(self.engine, query, milliseconds=self._milliseconds)


def _passes() -> sa.Select[Any]:
    # A pass from before revision 0003 does not name its table, but its changes do.
    of_changes = (
        sa.select(changes.c.table_name)
        .where(changes.c.pass_id == passes.c.id)
        .limit(1)
        .scalar_subquery()
    )
    ended = (passes.c.finished_at, passes.c.outcome, passes.c.error)
    return sa.select(
        passes.c.id,
        passes.c.mode,
        sa.func.coalesce(passes.c.table_name, of_changes),
        passes.c.namespace,
        passes.c.started_at,
        *ended,
        passes.c.host,
        passes.c.version,
        passes.c.asked,
        passes.c.report,
    )


def _has_prefix(prefix: str) -> sa.ColumnElement[bool]:
    """That a pass's id begins with these hexadecimal digits; hyphens are ignored."""
    if not (digits := prefix.replace("-", "")):
        return sa.true()
    lowest, highest = (UUID(digits.ljust(32, end)) for end in "0f")
    return passes.c.id.between(lowest, highest)


def _read_change(column: sa.ColumnElement[Any]) -> sa.ColumnElement[Any]:
    if column.name.endswith("_completed_at"):
        return readable(column).label(column.name)
    if isinstance(column.type, sa.Text):
        return as_bytes(column).label(column.name)
    return column


_CHANGE = [_read_change(column) for column in changes.c]


def _change(read: Any, codec: str) -> StoredChange:
    values = (shown(each, codec) if isinstance(each, bytes) else each for each in read)
    row = SimpleNamespace(**dict(zip(changes.c.keys(), values, strict=True)))
    return StoredChange(
        id=row.id,
        pass_id=row.pass_id,
        changed_at=row.changed_at,
        table=row.table_name,
        row_id=row.row_id,
        workflow_id=row.workflow_id,
        run_id=row.run_id,
        old=Values(row.old_status, row.old_completed_at, row.old_error_message),
        new=Values(row.new_status, row.new_completed_at, row.new_error_message),
        temporal_status=row.temporal_status,
        final_run_id=row.final_run_id,
        close_time=row.close_time,
        found_by=row.found_by,
        workflow_type=row.workflow_type,
    )
