"""`reconciler backfill --plan`: writing what a dry run has found, and asking Temporal nothing.

Resumable as a backfill of a window is: the same plan again goes on at the line where it ended.
"""

from __future__ import annotations

import asyncio
from pathlib import Path

from reconciler.apply import apply_plan
from reconciler.backfill import MODE, Desk, Outlook, Request, alone
from reconciler.core.progress import Progress, Span
from reconciler.core.report import PassReport
from reconciler.core.window import WindowCount
from reconciler.interrupt import interrupted_by_sigterm
from reconciler.keeper import this_process
from reconciler.pass_log import PassLog
from reconciler.plan.read import Plan, open_plan
from reconciler.postgres.bookkeeping import bookkeeping
from reconciler.postgres.clock import DatabaseClock
from reconciler.postgres.engine import using_engine
from reconciler.postgres.mapping import map_table
from reconciler.recorded import Bystander
from reconciler.redactor import Redactor
from reconciler.settings.model import Settings


async def run_plan(
    settings: Settings, request: Request, path: Path, desk: Desk, *, force: bool
) -> PassReport | None:
    """Write a plan; None if the operator did not want to after all.

    Raises `ConfigurationError` if it is not a plan of this table, whole and unchanged; or
    `Unusable` before the pass has begun.
    """
    running = settings.statuses.running
    async with using_engine(settings.dsn()) as engine:
        table = await map_table(engine, settings.table_mapping(), writing=True)
        table.check_noted_key()
        # A million lines take their time, in which Ctrl-C should be heard.
        plan = await asyncio.to_thread(
            open_plan, path, table=table.scope, running=running, read_id=table.read_id
        )
        books = bookkeeping(engine, journal=settings.journal)
        await books.check(looping=True)  # for the lease
        namespace, asked = plan.header.namespace, {"plan": plan.header.plan_id}
        history = books.history(table.scope, namespace, settings.status_values())
        begun = None if request.restart else await history.unfinished(MODE, asked, table)
        outlook = _outlook(plan, request, begun)
        if not desk.agrees(outlook):
            return None
        limit = settings.message_limit(table.error_message_length)
        redactor = Redactor(settings.redaction(), limit)
        lease = books.lease(table.scope, namespace, this_process(), MODE)
        new = request.new_report(settings, asked, await DatabaseClock(engine).read())
        new.progress = Progress(Span(None, plan.last_finish) if plan.finishes else None)
        with interrupted_by_sigterm(), desk.watch(outlook) as watching:
            async with alone(history, lease, table, new, request) as report:
                return await apply_plan(
                    books.store(table),
                    plan,
                    [history, redactor, Bystander(watching)],
                    " or ".join(running),
                    request.options(settings),
                    PassLog(each_row=not books.journals),
                    report,
                    force=force,
                    redact=redactor.line if settings.redact else None,
                )


def _outlook(plan: Plan, request: Request, begun: PassReport | None) -> Outlook:
    done = begun.scanned if begun else 0
    rows = max(plan.finishes - done, 0)
    return Outlook(
        table=plan.header.table,
        ahead=WindowCount(rows),
        rows=min(rows, request.limit or rows),
        apply=True,
        begun=begun,
        planned_at=plan.header.made_at,
    )
