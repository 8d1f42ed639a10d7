"""The `passes` table: every pass that may write leaves a row, begun before its first change."""

from __future__ import annotations

import socket
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncEngine

from reconciler import __version__
from reconciler.core.report import PassReport
from reconciler.core.verdict import StatusValues
from reconciler.errors import DatabaseUnusable
from reconciler.postgres.engine import translated
from reconciler.postgres.tables import passes


class PassHistory:
    """Implements `Observer`. A dry run leaves nothing behind, not even here."""

    def __init__(self, engine: AsyncEngine, statuses: StatusValues) -> None:
        self._engine = engine
        self._statuses = statuses

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

    async def _execute(self, statement: sa.Insert | sa.Update) -> None:
        with translated("write reconciler.passes"):
            async with self._engine.begin() as connection:
                await connection.execute(statement)
