"""Removes old records from the history and the journal.

Passes that changed nothing are removed after a week, so that a loop does not fill the table. The
others are kept, with their changes, as long as the operator wants to explain and undo them. Entries
of stuck rows are removed by passes; here go those that no pass looks at any more.
"""

from __future__ import annotations

import time
from datetime import timedelta

import sqlalchemy as sa
import structlog
from sqlalchemy.ext.asyncio import AsyncEngine

from reconciler.core.errors import DatabaseUnusable
from reconciler.core.observer import Observer, PassView
from reconciler.postgres.connection.engine import translated
from reconciler.postgres.schema import (
    at_risk,
    changes,
    is_not_of_feed,
    passes,
    recorded_at,
    stuck,
)

#: How long passes that changed nothing are kept.
KEEP = timedelta(days=7)
#: How often records are pruned.
PRUNE_EVERY = timedelta(hours=1)
#: Rows removed by one statement, so that none takes long; and at one time, so that no pass waits
#: while years of journal are removed.
PRUNE_BATCH = 2000
PRUNE_AT_MOST = 100_000

log = structlog.get_logger(__name__)


class Pruning(Observer):
    """Removes old passes over one table and namespace, once per `PRUNE_EVERY`."""

    def __init__(
        self, engine: AsyncEngine, table_name: str, namespace: str, journal: timedelta
    ) -> None:
        """`journal`: how long passes that changed something are kept, with their changes."""
        self._engine, self._journal = engine, journal
        self._same_table = sa.and_(
            passes.c.table_name == table_name, passes.c.namespace == namespace
        )
        self._pruned_at = float("-inf")

    async def on_pass(self, report: PassView) -> None:
        """Prune after a pass, if it is time.

        Not after one that failed: then the operator needs the earlier records.
        """
        due = time.monotonic() - self._pruned_at >= PRUNE_EVERY.total_seconds()
        if not due or report.request.dry_run or report.error is not None:
            return
        self._pruned_at = time.monotonic()
        try:
            removed = await self.prune()
        except DatabaseUnusable as error:  # the pass itself was good
            log.warning("prune_failed", error=str(error))
        else:
            log.debug("history_pruned", rows=removed)

    async def prune(self) -> int:
        """Remove old records; returns how many rows. Raises `DatabaseUnusable`."""
        expired = sa.and_(self._same_table, _older_than(self._journal))
        # A pass resumed after some of its changes are removed would count only the others.
        resumable = sa.update(passes).where(expired, passes.c.cursor.is_not(None))
        await self._execute(resumable.values(cursor=sa.null()))
        of_expired = changes.c.pass_id.in_(sa.select(passes.c.id).where(expired))
        old_changes = sa.select(changes.c.id).where(of_expired).limit(PRUNE_BATCH)
        unchanged = ~sa.exists().where(changes.c.pass_id == passes.c.id)
        # A resumable pass may have changed nothing yet, and be running now. The feed's may be
        # millions, and were recorded because they wrote.
        idle = self._same_table, _older_than(KEEP), passes.c.cursor.is_(None)
        removed = await self._remove(sa.delete(changes).where(changes.c.id.in_(old_changes)))
        for old in ([expired], [*idle, is_not_of_feed(passes.c.mode)]):
            old_passes = sa.select(passes.c.id).where(*old, unchanged)
            old_passes = old_passes.order_by(passes.c.started_at).limit(PRUNE_BATCH)
            removed += await self._remove(sa.delete(passes).where(passes.c.id.in_(old_passes)))
        for entries in (stuck, at_risk):
            removed += await self._execute(_abandoned(entries, max(self._journal, KEEP)))
        return removed

    async def _remove(self, removing: sa.Delete) -> int:
        removed = 0
        while removed < PRUNE_AT_MOST:
            batch = await self._execute(removing)
            removed += batch
            if batch < PRUNE_BATCH:
                break
        return removed

    async def _execute(self, statement: sa.Delete | sa.Update) -> int:
        with translated("prune reconciler.passes"):
            async with self._engine.begin() as connection:
                return (await connection.execute(statement)).rowcount


def _abandoned(entries: sa.Table, age: timedelta) -> sa.Delete:
    """Entries of any table that no pass looks at: those of settings that are no longer used."""
    scope = entries.c.table_name, entries.c.namespace
    unseen = sa.func.max(entries.c.seen) < sa.func.now() - age
    abandoned = sa.select(*scope).group_by(*scope).having(unseen)
    return sa.delete(entries).where(sa.tuple_(*scope).in_(abandoned))


def _older_than(age: timedelta) -> sa.ColumnElement[bool]:
    """Whether a pass last recorded something that long ago: it may have begun much earlier."""
    last_seen = sa.func.greatest(passes.c.started_at, passes.c.finished_at, recorded_at())
    before = sa.func.now() - age
    # The first condition is for the index.
    return sa.and_(passes.c.started_at < before, last_seen < before)
