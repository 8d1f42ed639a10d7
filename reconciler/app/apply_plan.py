"""`reconciler backfill --plan`: writes what a dry run has found, without asking Temporal.

Resumable, as a backfill is: the same plan continues at the line where it ended.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from sqlalchemy.ext.asyncio import AsyncEngine

from reconciler.app.backfill import Operator, Preview, Request
from reconciler.app.hold_lease import resume_or_start
from reconciler.app.lease import this_process
from reconciler.core.model import Mode
from reconciler.core.report.pass_report import PassReport
from reconciler.core.report.progress import Progress, Span
from reconciler.core.report.request import PassRequest
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
    settings: Settings, request: Request, path: Path, operator: Operator, *, force: bool
) -> PassReport | None:
    """Write a plan; None if the operator did not confirm.

    Raises `ConfigurationError` if the file is not a whole and unchanged plan of this table. Other
    errors are in the report, as for `run_backfill`.
    """
    report = request.new_report({"plan": None}, host_time())
    with reported(report):
        async with using_engine(settings.dsn()) as engine:
            command = _Command(settings, request, operator, engine, force)
            return report if await command.run(path, report) else None
    return report


@dataclass(frozen=True, slots=True)
class _Command:
    settings: Settings
    request: Request
    operator: Operator
    engine: AsyncEngine
    force: bool

    async def run(self, path: Path, report: PassReport) -> bool:
        """Write the plan; return whether the operator confirmed."""
        settings, request = self.settings, self.request
        table = await map_table(self.engine, settings.table_mapping(), writing=True)
        table.key.check_notable(table.full_name)
        plan = await self._open(path, table)
        books = Bookkeeping(self.engine, journal=settings.journal)
        await books.check(looping=True)  # for the lease
        namespace, asked = plan.header.namespace, {"plan": plan.header.plan_id}
        history = books.history(table.scope, namespace, settings.status_values())
        same, restart = PassRequest(Mode.BACKFILL, asked=asked), request.restart
        begun = None if restart else await history.unfinished(same, table.read_id)
        new = request.new_report(asked, await DatabaseClock(self.engine).read())
        new.progress = Progress(Span(None, plan.last_finish) if plan.finishes else None)
        report.become(begun or new)
        preview = _preview(plan, request, begun)
        if not self.operator.confirm(preview):
            return False
        limit = settings.message_limit(table.error_message_length)
        redactor = Redactor(settings.redaction(), limit)
        lease = books.lease(table.scope, namespace, this_process(), Mode.BACKFILL)
        holding = resume_or_start(history, lease, same, table.read_id, new, report, restart=restart)
        with self.operator.show_progress(preview) as progress:
            async with holding:
                await apply_plan(
                    books.store(table, found_by=report.request.found_by),
                    plan,
                    history,
                    [redactor, Bystander(progress)],
                    settings.status_values().running_label,
                    request.options(settings),
                    PassLog(each_row=not books.journals),
                    report,
                    force=self.force,
                    redact=redactor.line if settings.redact else None,
                )
        return True

    async def _open(self, path: Path, table: MappedTable) -> Plan:
        # In a thread: reading a million lines takes time, and Ctrl-C must work meanwhile.
        stop = threading.Event()
        opening = partial(
            open_plan,
            path,
            table=table.scope,
            running=self.settings.statuses.running,
            read_id=table.read_id,
            target=self.settings.target,
            stopped=stop.is_set,
        )
        return await in_thread(stop, opening)


def _preview(plan: Plan, request: Request, begun: PassReport | None) -> Preview:
    done = begun.tally.scanned if begun else 0
    rows = max(plan.finishes - done, 0)
    return Preview(
        table=plan.header.table,
        ahead=AgeSpread(rows),
        rows=min(rows, request.limit or rows),
        apply=True,
        begun=begun,
        planned_at=plan.header.made_at,
    )
