"""The `passes` table: the history of passes, and the heartbeat that other processes read.

Every pass that may write inserts a row before its first change. A resumable one records its
progress there, and the same command resumes it.
"""

from __future__ import annotations

import socket
from collections import Counter
from collections.abc import Callable, Collection, Mapping
from datetime import timedelta
from typing import Any
from uuid import UUID, uuid4

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.ext.asyncio import AsyncEngine
from sqlalchemy.sql.dml import ReturningUpdate

from reconciler import __version__
from reconciler.core.errors import Unusable
from reconciler.core.model import RowId
from reconciler.core.policy import StatusValues
from reconciler.core.ports import Heartbeat
from reconciler.core.report.pass_report import PassOutcome, PassReport, Report
from reconciler.core.report.request import PassRequest
from reconciler.core.report.sweep import Swept
from reconciler.postgres.connection.engine import translated
from reconciler.postgres.connection.queries import fetch
from reconciler.postgres.journal.checkpoint import (
    restore,
    sweep_from_json,
    sweep_to_json,
    to_json,
)
from reconciler.postgres.journal.earlier import EarlierPasses
from reconciler.postgres.journal.schema_check import execute_write
from reconciler.postgres.schema import passes, written_by

#: The columns needed to resume a pass.
_BEGUN = [passes.c[name] for name in ("id", "mode", "started_at", "asked", "cursor", "report")]


class PassHistory:
    """The passes over one table and namespace; see the port `History`."""

    def __init__(
        self,
        engine: AsyncEngine,
        table_name: str,
        namespace: str,
        statuses: StatusValues,
    ) -> None:
        self._engine = engine
        self._of = {"table_name": table_name, "namespace": namespace}
        self._earlier = EarlierPasses(engine, self._of)
        self._statuses = statuses
        # A process that resumes a pass replaces the mark: the one before can record nothing more.
        self._mark = str(uuid4())

    async def begin(self, report: Report) -> Swept | None:
        """Insert the pass, which its changes refer to; returns the state of the sweep."""
        swept = await self._last_sweep() if isinstance(report, PassReport) else None
        if not report.resumed:
            asked = report.request.asked
            await self._execute(
                sa.insert(passes).values(
                    id=UUID(report.pass_id),
                    mode=report.request.mode,
                    started_at=report.started_at,
                    host=socket.gethostname(),
                    version=__version__,
                    **({} if asked is None else {"asked": asked}),
                    **self._progress_of(report),
                    **self._of,
                )
            )
        return swept

    async def checkpoint(self, report: PassReport) -> None:
        """Record its progress. Raises `Unusable` if another process has resumed the pass."""
        recording = (
            sa.update(passes)
            .where(passes.c.id == UUID(report.pass_id), self._is_current())
            .values(**self._progress_of(report))
        )
        if not await self._execute(recording):
            raise Unusable(f"another process has resumed pass {report.pass_id}")

    async def written(self, pass_id: str) -> Mapping[str, int]:
        """Its rows in the journal, counted by status."""
        with translated("read reconciler.passes"):
            return dict(await fetch(self._engine, written_by(UUID(pass_id))))

    async def end(self, report: Report) -> None:
        """Record how it ended."""
        as_json = report.as_json(self._statuses)
        if isinstance(report, PassReport):
            as_json = {**as_json, **_namespaces(report), "sweep": sweep_to_json(report.swept)}
        await self._execute(
            sa.update(passes)
            .where(passes.c.id == UUID(report.pass_id), self._is_current())
            .values(
                finished_at=sa.func.clock_timestamp(),
                outcome=report.outcome.value,
                report=as_json,
                error=report.error,
                cursor=passes.c.cursor if report.more_left else sa.null(),
            )
        )

    async def found_in(self, namespaces: Collection[str]) -> Collection[str]:
        """Of namespaces, by id, those in which an earlier pass over the table found workflows."""
        return await self._earlier.found_in(namespaces)

    async def heartbeat(self) -> Heartbeat | None:
        """The last good pass over every row; None if there was none yet.

        Raises `DatabaseUnusable`.
        """
        seconds = sa.cast(passes.c.report["duration_seconds"].astext, sa.Float)
        now, whose = sa.func.clock_timestamp(), passes.c.id
        row = await self._earlier.last_good(passes.c.finished_at, seconds, now, whose)
        return row and Heartbeat(row[0], timedelta(seconds=row[1]), row[2], str(row[3]))

    async def _last_sweep(self) -> Swept | None:
        row = await self._earlier.last_good(passes.c.report["sweep"])
        return None if row is None else sweep_from_json(row[0])

    async def unfinished(
        self, request: PassRequest, read_id: Callable[[Any], RowId]
    ) -> PassReport | None:
        """The last pass of this request that has not completed, as recorded."""
        last = self._earlier.unfinished(request).order_by(passes.c.started_at.desc()).limit(1)
        columns = sa.select(*_BEGUN).where(passes.c.id == last.scalar_subquery())
        return await self._begun(columns, read_id)

    async def resume(
        self, request: PassRequest, read_id: Callable[[Any], RowId]
    ) -> PassReport | None:
        """Resume that pass: the process that ran it before can no longer record anything."""
        last = self._earlier.unfinished(request).order_by(passes.c.started_at.desc()).limit(1)
        mark = passes.c.cursor.concat(self._signature())
        taken_over = (
            sa.update(passes)
            # The cursor again: it may be null after the wait for the row's lock.
            .where(passes.c.id == last.scalar_subquery(), passes.c.cursor.is_not(None))
            .values(cursor=mark, finished_at=None, outcome=None, error=None)
            .values(host=socket.gethostname(), version=__version__)
            .returning(*_BEGUN)
        )
        return await self._begun(taken_over, read_id)

    async def _begun(
        self, rows: sa.Select[Any] | ReturningUpdate[Any], read_id: Callable[[Any], RowId]
    ) -> PassReport | None:
        with translated("resume a pass of reconciler.passes"):
            async with self._engine.begin() as connection:
                row = (await connection.execute(rows)).first()
                if row is None:
                    return None
                written = await connection.execute(written_by(row.id))
                request = PassRequest(row.mode, asked=row.asked)
                report = PassReport(str(row.id), request, row.started_at, resumed=True)
                restore(report, row.cursor, read_id)
                report.correct(dict(written.all()))
                # Time and calls after the last page count too.
                report.duration_seconds = row.report["duration_seconds"]
                report.rpcs = Counter(row.report["rpcs"])
                report.found_in = set(row.report.get("found_in", ()))
                report.missing_in = set(row.report.get("missing_in", ()))
                return report

    async def give_up(self, request: PassRequest) -> None:
        """Keep passes of this request from being resumed."""
        await self.close(passes.c.id.in_(self._earlier.unfinished(request)))

    async def close(self, which: sa.ColumnElement[bool]) -> None:
        """Close unfinished passes: they cannot be resumed, and record nothing more."""
        await self._execute(
            sa.update(passes)
            .where(which, passes.c.cursor.is_not(None))
            .values(
                cursor=sa.null(),
                finished_at=sa.func.coalesce(passes.c.finished_at, sa.func.clock_timestamp()),
                outcome=sa.func.coalesce(passes.c.outcome, PassOutcome.ABORTED.value),
            )
        )

    def _progress_of(self, report: Report) -> Mapping[str, Any]:
        """The columns to resume it from, if it can be resumed."""
        if not isinstance(report, PassReport) or report.progress is None:
            return {}
        if report.request.asked is None:
            return {}
        cursor = sa.cast(to_json(report.progress, report.done), JSONB)
        report_json = {**report.as_json(self._statuses), **_namespaces(report)}
        return {"cursor": cursor.concat(self._signature()), "report": report_json}

    def _signature(self) -> sa.ColumnElement[Any]:
        """Which process records something, and when."""
        return sa.func.jsonb_build_object(
            sa.literal_column("'by'"),
            sa.cast(self._mark, sa.Text),
            sa.literal_column("'noted_at'"),
            sa.func.clock_timestamp(),
            type_=JSONB,
        )

    def _is_current(self) -> sa.ColumnElement[bool]:
        """That this process still runs the pass: no other has resumed it, and it has not ended."""
        unmarked = sa.and_(passes.c.cursor.is_(None), passes.c.finished_at.is_(None))
        return sa.or_(unmarked, passes.c.cursor["by"].astext == self._mark)

    async def _execute(self, statement: sa.Insert | sa.Update) -> int:
        return await execute_write(self._engine, statement, "write reconciler.passes")


def _namespaces(report: PassReport) -> Mapping[str, Any]:
    """In which namespaces workflows were found, and rows are to be failed; by Temporal's ids."""
    return {"found_in": sorted(report.found_in), "missing_in": sorted(report.missing_in)}
