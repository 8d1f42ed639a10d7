"""The `passes` table: the history of passes, and the heartbeat that other processes read.

Every pass that may write leaves a row, begun before its first change. One that was asked to do
something particular notes down there how far it has come, so that the same command goes on with it.
"""

from __future__ import annotations

import socket
from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import Any
from uuid import UUID, uuid4

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.ext.asyncio import AsyncEngine
from sqlalchemy.sql.dml import ReturningUpdate

from reconciler import __version__
from reconciler.core.errors import DatabaseUnusable, Unusable
from reconciler.core.model import Mode, Verdict
from reconciler.core.ports import Heartbeat, Observer
from reconciler.core.progress import Progress
from reconciler.core.report import PassOutcome, PassReport, Report
from reconciler.core.sweep import Swept
from reconciler.core.verdict import StatusValues
from reconciler.postgres.connection.engine import translated
from reconciler.postgres.journal.checkpoint import restore, to_json
from reconciler.postgres.journal.schema_check import write_own
from reconciler.postgres.schema import is_good, passes, written_by
from reconciler.postgres.table.mapping import MappedTable

#: Passes in these modes are the heartbeat.
_WHOLE = [mode for mode in Mode if mode.is_whole]
#: What is needed to go on with a pass.
_BEGUN = [passes.c[name] for name in ("id", "mode", "started_at", "asked", "cursor", "report")]


class PassHistory(Observer):
    """The passes over one table and namespace. A dry run leaves nothing behind, not even here."""

    def __init__(
        self,
        engine: AsyncEngine,
        table_name: str,
        namespace: str,
        statuses: StatusValues,
    ) -> None:
        self._engine = engine
        self._of = {"table_name": table_name, "namespace": namespace}
        self._statuses = statuses
        # Whoever resumes a pass puts its own mark there; the one before is heard no more.
        self._mark = str(uuid4())

    async def on_start(self, report: Report) -> None:
        """Record that the pass began, as its changes refer to it; tell how far the last swept."""
        if report.dry_run:
            return
        if isinstance(report, PassReport):
            report.swept = await self._last_sweep()
        if report.resumed:
            return
        await self._execute(
            sa.insert(passes).values(
                id=UUID(report.pass_id),
                mode=report.mode,
                started_at=report.started_at,
                host=socket.gethostname(),
                version=__version__,
                **({} if report.asked is None else {"asked": report.asked}),
                **self._begun_with(report),
                **self._of,
            )
        )

    def _begun_with(self, report: Report) -> Mapping[str, Any]:
        """Where to go on if it is killed before its first page is done."""
        if not isinstance(report, PassReport) or report.asked is None or report.progress is None:
            return {}
        told = report.as_json(self._statuses)
        return {"cursor": self._cursor(report.progress, told), "report": told}

    async def on_page(self, report: PassReport, verdicts: Sequence[Verdict]) -> None:  # noqa: ARG002
        """Note down how far a pass has come that can be gone on with."""
        if report.dry_run or report.asked is None or report.progress is None:
            return
        told = report.as_json(self._statuses)
        cursor = self._cursor(report.progress, told)
        noted = (
            sa.update(passes)
            .where(passes.c.id == UUID(report.pass_id), self._by_us())
            .values(cursor=cursor, report=told)
        )
        if not await self._execute(noted):
            raise Unusable(f"another process has gone on with pass {report.pass_id}")

    async def on_pass(self, report: Report) -> None:
        """Record how it ended. A database that is unusable by now makes the pass an aborted one."""
        if report.dry_run:
            return
        try:
            if report.error is not None:
                # Of a write that was cut off, the pass does not know itself what became.
                written = await self._read(written_by(UUID(report.pass_id)))
                report.written = Counter(dict(written))
            await self._execute(self._ended(report))
        except DatabaseUnusable as error:
            report.error = report.error or str(error)

    def _ended(self, report: Report) -> sa.Update:
        return (
            sa.update(passes)
            .where(passes.c.id == UUID(report.pass_id), self._by_us())
            .values(
                finished_at=sa.func.clock_timestamp(),
                outcome=report.outcome.value,
                report={**report.as_json(self._statuses), **_swept(report)},
                error=report.error,
                cursor=passes.c.cursor if report.more_left else sa.null(),
            )
        )

    async def heartbeat(self) -> Heartbeat | None:
        """The last good pass over every row; None if there was none yet.

        Raises `DatabaseUnusable`.
        """
        seconds = sa.cast(passes.c.report["duration_seconds"].astext, sa.Float)
        now, whose = sa.func.clock_timestamp(), passes.c.id
        row = await self._last_good(passes.c.finished_at, seconds, now, whose)
        return row and Heartbeat(row[0], timedelta(seconds=row[1]), row[2], str(row[3]))

    async def _last_sweep(self) -> Swept | None:
        end = sa.cast(passes.c.report["sweep_end"].astext, sa.Float)
        row = await self._last_good(passes.c.started_at, end)
        return None if row is None or row[1] is None else Swept(*row)

    async def _last_good(self, *columns: sa.ColumnElement[Any]) -> Any:
        # One from the future, before the database's clock was set back, would hide all that follow.
        past = passes.c.finished_at <= sa.func.clock_timestamp()
        good = is_good(passes.c.outcome), passes.c.mode.in_(_WHOLE), past
        last = sa.select(*columns).where(*self._ours(), *good)
        rows = await self._read(last.order_by(passes.c.finished_at.desc()).limit(1))
        return rows[0] if rows else None

    async def _read(self, query: sa.Select[Any]) -> Sequence[Any]:
        with translated("read reconciler.passes"):
            async with self._engine.connect() as connection:
                await connection.execution_options(postgresql_readonly=True)
                rows: Sequence[Any] = (await connection.execute(query)).all()
                return rows

    async def unfinished(
        self, mode: str, asked: Mapping[str, Any], table: MappedTable
    ) -> PassReport | None:
        """The last pass that was asked to do the same and has not come to its end, as it stands.

        Raises `DatabaseUnusable`.
        """
        last = self._unfinished(mode, asked).order_by(passes.c.started_at.desc()).limit(1)
        columns = sa.select(*_BEGUN).where(passes.c.id == last.scalar_subquery())
        return await self._begun(columns, table)

    async def resume(
        self, mode: str, asked: Mapping[str, Any], table: MappedTable
    ) -> PassReport | None:
        """Go on with that pass: from here on, who had it before can note down nothing more.

        Raises `DatabaseUnusable`.
        """
        last = self._unfinished(mode, asked).order_by(passes.c.started_at.desc()).limit(1)
        mark = passes.c.cursor.concat(self._signature())
        taken_over = (
            sa.update(passes)
            # Once more the cursor: it may have gone while the row was waited for.
            .where(passes.c.id == last.scalar_subquery(), passes.c.cursor.is_not(None))
            .values(cursor=mark, finished_at=None, outcome=None, error=None)
            .values(host=socket.gethostname(), version=__version__)
            .returning(*_BEGUN)
        )
        return await self._begun(taken_over, table)

    async def _begun(
        self, rows: sa.Select[Any] | ReturningUpdate[Any], table: MappedTable
    ) -> PassReport | None:
        with translated("go on with a pass of reconciler.passes"):
            async with self._engine.begin() as connection:
                row = (await connection.execute(rows)).first()
                if row is None:
                    return None
                written = await connection.execute(written_by(row.id))
                report = PassReport(str(row.id), row.mode, dry_run=False, started_at=row.started_at)
                report.asked, report.resumed = row.asked, True
                # What came after the last page has cost time and calls all the same.
                spent = {name: row.report[name] for name in ("duration_seconds", "rpcs")}
                counts = row.cursor["counts"] | spent
                restore(report, {**row.cursor, "counts": counts}, table.read_id, written.all())
                return report

    async def give_up(self, mode: str, asked: Mapping[str, Any]) -> None:
        """Let nobody go on with passes that were asked to do the same. Raises as above."""
        given_up = self._unfinished(mode, asked)
        await self.close(passes.c.id.in_(given_up))

    async def close(self, which: sa.ColumnElement[bool]) -> None:
        """Let nobody go on with these passes, nor note down anything of them any more."""
        await self._execute(
            sa.update(passes)
            .where(which, passes.c.cursor.is_not(None))
            .values(
                cursor=sa.null(),
                finished_at=sa.func.coalesce(passes.c.finished_at, sa.func.clock_timestamp()),
                outcome=sa.func.coalesce(passes.c.outcome, PassOutcome.ABORTED.value),
            )
        )

    def _cursor(self, progress: Progress, told: Mapping[str, Any]) -> sa.ColumnElement[Any]:
        # The counts too: those of the report are of its end, which may be in the middle of a page.
        cursor = {**to_json(progress), "counts": told}
        return sa.cast(cursor, JSONB).concat(self._signature())

    def _signature(self) -> sa.ColumnElement[Any]:
        """Who notes something down, and when."""
        return sa.func.jsonb_build_object(
            sa.literal_column("'by'"),
            sa.cast(self._mark, sa.Text),
            sa.literal_column("'noted_at'"),
            sa.func.clock_timestamp(),
            type_=JSONB,
        )

    def _unfinished(self, mode: str, asked: Mapping[str, Any]) -> sa.Select[Any]:
        same = passes.c.asked.contains(asked)
        return sa.select(passes.c.id).where(
            *self._ours(), passes.c.mode == mode, same, passes.c.cursor.is_not(None)
        )

    def _ours(self) -> list[sa.ColumnElement[bool]]:
        return [passes.c[name] == value for name, value in self._of.items()]

    def _by_us(self) -> sa.ColumnElement[bool]:
        """That we are at it: nobody has gone on with it, nor has it ended."""
        alone = sa.and_(passes.c.cursor.is_(None), passes.c.finished_at.is_(None))
        return sa.or_(alone, passes.c.cursor["by"].astext == self._mark)

    async def _execute(self, statement: sa.Insert | sa.Update) -> int:
        return await write_own(self._engine, statement, "write reconciler.passes")


def _swept(report: Report) -> Mapping[str, Any]:
    return {"sweep_end": report.sweep_end} if isinstance(report, PassReport) else {}
