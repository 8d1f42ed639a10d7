"""`reconciler backfill --plan`: writing what a dry run has found, and asking Temporal nothing.

Resumable as a backfill of a window is: the same plan again goes on at the line where it ended.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from sqlalchemy.ext.asyncio import AsyncEngine

from reconciler.app.backfill import Desk, Outlook, Request, alone
from reconciler.app.lease import this_process
from reconciler.core.model import Mode
from reconciler.core.progress import Progress, Span
from reconciler.core.report import PassReport
from reconciler.core.request import PassRequest
from reconciler.core.window import AgeSpread
from reconciler.host.cancellation import in_thread
from reconciler.passes.lifecycle import reported
from reconciler.passes.log import PassLog
from reconciler.passes.observers import Bystander
from reconciler.plan.apply import apply_plan
from reconciler.plan.read import Plan, open_plan
from reconciler.postgres.connection.clock import DatabaseClock, host_time
from reconciler.postgres.connection.engine import using_engine
from reconciler.postgres.journal.bookkeeping import Bookkeeping
from reconciler.postgres.table.mapping import MappedTable, map_table
from reconciler.settings.model import Settings
from reconciler.temporal.failures.redactor import Redactor


async def run_plan(
    settings: Settings, request: Request, path: Path, desk: Desk, *, force: bool
) -> PassReport | None:
    """Write a plan; None if the operator did not want to after all.

    Raises `ConfigurationError` if it is not a plan of this table, whole and unchanged. What else
    may end it is in the report, as of `run_backfill`.
    """
    report = request.new_report({"plan": None}, host_time())
    with reported(report):
        async with using_engine(settings.dsn()) as engine:
            command = _Command(settings, request, desk, engine, force)
            return report if await command.run(path, report) else None
    return report


@dataclass(frozen=True, slots=True)
class _Command:
    settings: Settings
    request: Request
    desk: Desk
    engine: AsyncEngine
    force: bool

    async def run(self, path: Path, report: PassReport) -> bool:
        """Write the plan; return whether the operator wanted to."""
        settings, request = self.settings, self.request
        table = await map_table(self.engine, settings.table_mapping(), writing=True)
        table.check_noted_key()
        plan = await self._opened(path, table)
        books = Bookkeeping(self.engine, journal=settings.journal)
        await books.check(looping=True)  # for the lease
        namespace, asked = plan.header.namespace, {"plan": plan.header.plan_id}
        history = books.history(table.scope, namespace, settings.status_values())
        same = PassRequest(Mode.BACKFILL, asked=asked)
        begun = None if request.restart else await history.unfinished(same, table.read_id)
        new = request.new_report(asked, await DatabaseClock(self.engine).read())
        new.progress = Progress(Span(None, plan.last_finish) if plan.finishes else None)
        report.become(begun or new)
        outlook = _outlook(plan, request, begun)
        if not self.desk.agrees(outlook):
            return False
        redactor = Redactor(
            settings.redaction(), settings.message_limit(table.error_message_length)
        )
        lease = books.lease(table.scope, namespace, this_process(), Mode.BACKFILL)
        with self.desk.watch(outlook) as watching:
            async with alone(history, lease, table, new, request, report):
                await apply_plan(
                    books.store(table),
                    plan,
                    history,
                    [redactor, Bystander(watching)],
                    " or ".join(settings.statuses.running),
                    request.options(settings),
                    PassLog(each_row=not books.journals),
                    report,
                    force=self.force,
                    redact=redactor.line if settings.redact else None,
                )
        return True

    async def _opened(self, path: Path, table: MappedTable) -> Plan:
        # A million lines take their time, in which Ctrl-C should be heard.
        stop = threading.Event()
        opening = partial(
            open_plan,
            path,
            table=table.scope,
            running=self.settings.statuses.running,
            read_id=table.read_id,
            stopped=stop.is_set,
        )
        return await in_thread(stop, opening)


def _outlook(plan: Plan, request: Request, begun: PassReport | None) -> Outlook:
    done = begun.tally.scanned if begun else 0
    rows = max(plan.finishes - done, 0)
    return Outlook(
        table=plan.header.table,
        ahead=AgeSpread(rows),
        rows=min(rows, request.limit or rows),
        apply=True,
        begun=begun,
        planned_at=plan.header.made_at,
    )
