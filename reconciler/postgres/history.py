"""The `passes` table: the history of passes, and the heartbeat that other processes read.

Every pass that may write leaves a row, begun before its first change.
"""

from __future__ import annotations

import socket
import time
from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID

import sqlalchemy as sa
import structlog
from sqlalchemy.ext.asyncio import AsyncEngine

from reconciler import __version__
from reconciler.core.report import PassReport
from reconciler.core.verdict import StatusValues
from reconciler.errors import DatabaseUnusable
from reconciler.ports import Observer
from reconciler.postgres.engine import translated
from reconciler.postgres.tables import changes, is_good, passes

#: How long passes that changed nothing are kept; the others stay with their journal.
KEEP = timedelta(days=7)
#: How often that is looked after, and rows removed at a time, so that no statement takes long.
PRUNE_EVERY = timedelta(hours=1)
PRUNE_BATCH = 2000

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Heartbeat:
    """The last pass that came to its end, whichever process it was in."""

    finished_at: datetime
    duration: timedelta
    #: By the same clock, the database's.
    read_at: datetime


class PassHistory(Observer):
    """The passes over one table and namespace. A dry run leaves nothing behind, not even here."""

    def __init__(
        self, engine: AsyncEngine, table_name: str, namespace: str, statuses: StatusValues
    ) -> None:
        self._engine = engine
        self._of = {"table_name": table_name, "namespace": namespace}
        self._statuses = statuses
        self._pruned_at = float("-inf")

    async def on_start(self, report: PassReport) -> None:
        """Record that the pass began; its changes refer to this row."""
        if not report.dry_run:
            await self._execute(
                sa.insert(passes).values(
                    id=UUID(report.pass_id),
                    mode=report.mode,
                    started_at=report.started_at,
                    host=socket.gethostname(),
                    version=__version__,
                    **self._of,
                )
            )

    async def on_pass(self, report: PassReport) -> None:
        """Record how it ended. A database that is away by now makes the pass an aborted one."""
        if report.dry_run:
            return
        try:
            await self._execute(
                sa.update(passes)
                .where(passes.c.id == UUID(report.pass_id))
                .values(
                    finished_at=sa.func.clock_timestamp(),
                    outcome=report.outcome.value,
                    report=report.as_json(self._statuses),
                    error=report.error,
                )
            )
        except DatabaseUnusable as error:
            report.error = report.error or str(error)
        # Not after a pass that failed: what there was before is all there is to go by then.
        due = time.monotonic() - self._pruned_at >= PRUNE_EVERY.total_seconds()
        if due and report.error is None:
            self._pruned_at = time.monotonic()
            await self._prune_quietly()

    async def heartbeat(self) -> Heartbeat | None:
        """The last good pass; None if there was none yet. Raises `DatabaseUnusable`."""
        seconds = sa.cast(passes.c.report["duration_seconds"].astext, sa.Float)
        query = (
            sa.select(passes.c.finished_at, seconds, sa.func.clock_timestamp())
            .where(*self._ours(), is_good(passes.c.outcome))
            .order_by(passes.c.finished_at.desc())
            .limit(1)
        )
        with translated("read reconciler.passes"):
            async with self._engine.connect() as connection:
                await connection.execution_options(postgresql_readonly=True)
                row = (await connection.execute(query)).first()
                return row and Heartbeat(row[0], timedelta(seconds=row[1]), read_at=row[2])

    async def prune(self) -> int:
        """Remove old passes that changed nothing; returns how many. Raises `DatabaseUnusable`."""
        cutoff = sa.func.now() - KEEP
        old = (
            sa.select(passes.c.id)
            .where(
                *self._ours(),
                passes.c.started_at < cutoff,
                # The start is by the clock of its host, which may be days off.
                sa.or_(passes.c.finished_at < cutoff, passes.c.finished_at.is_(None)),
                ~sa.exists().where(changes.c.pass_id == passes.c.id),
            )
            .order_by(passes.c.started_at)
            .limit(PRUNE_BATCH)
        )
        removing = sa.delete(passes).where(passes.c.id.in_(old))
        removed = batch = await self._execute(removing)
        while batch == PRUNE_BATCH:
            removed += (batch := await self._execute(removing))
        return removed

    async def _prune_quietly(self) -> None:
        try:
            removed = await self.prune()
        except DatabaseUnusable as error:  # no reason to call a good pass a bad one
            log.warning("cannot prune the history", error=str(error))
        else:
            log.debug("pruned the history", passes=removed)

    def _ours(self) -> list[sa.ColumnElement[bool]]:
        return [passes.c[name] == value for name, value in self._of.items()]

    async def _execute(self, statement: sa.Insert | sa.Update | sa.Delete) -> int:
        with translated("write reconciler.passes"):
            async with self._engine.begin() as connection:
                return (await connection.execute(statement)).rowcount
