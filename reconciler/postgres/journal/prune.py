"""What is removed from the history and the journal once it is old enough.

Passes that changed nothing go after a week, so that a loop does not fill the table; the others
stay, with their changes, as long as the operator wants to be able to explain and undo them.
"""

from __future__ import annotations

import time
from datetime import timedelta

import sqlalchemy as sa
import structlog
from sqlalchemy.ext.asyncio import AsyncEngine

from reconciler.core.errors import DatabaseUnusable
from reconciler.core.ports import Observer, PassView
from reconciler.postgres.connection.engine import translated
from reconciler.postgres.schema import changes, noted_at, passes

#: How long passes that changed nothing are kept.
KEEP = timedelta(days=7)
#: How often that is looked after.
PRUNE_EVERY = timedelta(hours=1)
#: Rows removed at a time, so that no statement takes long; and in one turn, so that no pass waits
#: for years of journal to go.
PRUNE_BATCH = 2000
PRUNE_AT_MOST = 100_000

log = structlog.get_logger(__name__)


class Pruning(Observer):
    """Removes what is old of the passes over one table and namespace, every now and then."""

    def __init__(
        self, engine: AsyncEngine, table_name: str, namespace: str, journal: timedelta
    ) -> None:
        """`journal`: how long passes that changed something are kept, with their changes."""
        self._engine, self._journal = engine, journal
        self._ours = sa.and_(passes.c.table_name == table_name, passes.c.namespace == namespace)
        self._pruned_at = float("-inf")

    async def on_pass(self, report: PassView) -> None:
        """Prune after a pass, if it is time to.

        Not after one that failed: what there was before is all there is to go by then.
        """
        due = time.monotonic() - self._pruned_at >= PRUNE_EVERY.total_seconds()
        if not due or report.request.dry_run or report.error is not None:
            return
        self._pruned_at = time.monotonic()
        try:
            removed = await self.prune()
        except DatabaseUnusable as error:  # no reason to call a good pass a bad one
            log.warning("prune_failed", error=str(error))
        else:
            log.debug("history_pruned", rows=removed)

    async def prune(self) -> int:
        """Remove what is old; returns how many rows. Raises `DatabaseUnusable`."""
        expired = sa.and_(self._ours, _older_than(self._journal))
        # Resumed while some of its changes are gone, it would count the others only.
        resumable = sa.update(passes).where(expired, passes.c.cursor.is_not(None))
        await self._execute(resumable.values(cursor=sa.null()))
        of_expired = changes.c.pass_id.in_(sa.select(passes.c.id).where(expired))
        old_changes = sa.select(changes.c.id).where(of_expired).limit(PRUNE_BATCH)
        unchanged = ~sa.exists().where(changes.c.pass_id == passes.c.id)
        # One that can be gone on with may have changed nothing yet, and be at it right now.
        idle = sa.and_(self._ours, _older_than(KEEP), passes.c.cursor.is_(None))
        old_passes = (
            sa.select(passes.c.id)
            .where(sa.or_(expired, idle), unchanged)
            .order_by(passes.c.started_at)
            .limit(PRUNE_BATCH)
        )
        removed = await self._remove(sa.delete(changes).where(changes.c.id.in_(old_changes)))
        return removed + await self._remove(sa.delete(passes).where(passes.c.id.in_(old_passes)))

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


def _older_than(age: timedelta) -> sa.ColumnElement[bool]:
    """Whether the last sign of life of a pass is that old.

    A backfill may be at it right now that was begun long ago.
    """
    last_seen = sa.func.greatest(passes.c.started_at, passes.c.finished_at, noted_at())
    return last_seen < sa.func.now() - age
