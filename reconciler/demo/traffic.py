"""What the sample application does for as long as the demo is kept: steady traffic, and trouble.

A few workflows a minute, which end in each of the ways that matter, and a dozen that are stuck. It
can go on for days: only a thousand finished rows are kept, and what is stuck does not grow.
"""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncGenerator
from contextlib import suppress
from dataclasses import dataclass
from datetime import timedelta

import sqlalchemy as sa
from temporalio.service import RPCError

from reconciler.demo.application import Application, Job
from reconciler.demo.story import TASK_QUEUE as WITHOUT_PLUGIN

#: Its worker has the plugin.
WITH_PLUGIN = "provisioning"
SECONDS_BETWEEN = 6.0
ROWS_KEPT = 1000

PAUSED = "tenant-lexcorp"
NEVER_STARTED = "tenant-wonka"
_FORGET = sa.text(
    "DELETE FROM workflow_executions WHERE status <> 'running' AND id <="
    " (SELECT max(id) FROM workflow_executions) - :kept"
)


@dataclass(frozen=True, slots=True)
class Errand:
    """What happens to one workflow of the traffic."""

    prefix: str
    kind: str
    task_queue: str = WITH_PLUGIN
    workflow_type: str = "ProvisionTenant"
    #: Whether an operator terminates it.
    terminated: bool = False
    execution_timeout: timedelta | None = None

    def job(self, number: int) -> Job:
        """The workflow, the `number`th of all."""
        name = f"{self.prefix}{number:04}"
        is_tenant = self.workflow_type == "ProvisionTenant"
        return Job(
            workflow_id=f"tenant-{name}" if is_tenant else name,
            workflow_type=self.workflow_type,
            arguments=(name, self.kind, 0) if is_tenant else (name,),
            task_queue=self.task_queue,
            execution_timeout=self.execution_timeout,
        )


_REPORTS = Errand("", "slowly")
#: Again and again, one every `SECONDS_BETWEEN`.
ERRANDS = (
    Errand("invoice-", "", WITHOUT_PLUGIN, "SendInvoice"),
    Errand("", "waits for approval", terminated=True),
    _REPORTS,
    Errand("", "waits for approval", execution_timeout=timedelta(seconds=5)),
    _REPORTS,
    Errand("big-", "plain"),
    _REPORTS,
    _REPORTS,
)


def _tenant(name: str, kind: str) -> Job:
    return Job(workflow_id=f"tenant-{name}", arguments=(name, kind, 0), task_queue=WITH_PLUGIN)


def _other(workflow_type: str, name: str, task_queue: str = WITH_PLUGIN) -> Job:
    return Job(
        workflow_id=name, workflow_type=workflow_type, arguments=(name,), task_queue=task_queue
    )


#: Started once, and open until somebody ends them.
STUCK = (
    *(_tenant(name, "persistently") for name in ("cyberdyne", "weyland", "soylent", "oscorp")),
    _tenant("aperture", "by a persistent child"),
    _tenant("lexcorp", "waits for approval"),
    _other("ImportLedger", "ledger-2026-09", task_queue="ledgers"),
    _other("ImportLedger", "ledger-2026-10", task_queue="ledgers"),
    _other("MoveRegion", "region-7"),
    _other("MoveRegion", "region-9"),
)


async def start_stuck(application: Application) -> None:
    """Start what will not end by itself, and lose a workflow between its row and its start."""
    await application.execute(
        sa.text(
            "INSERT INTO workflow_executions (workflow_id, workflow_type, created_at)"
            " VALUES (:id, 'ProvisionTenant', now() - interval '10 minutes')"
        ),
        id=NEVER_STARTED,
    )
    for job in STUCK:
        await application.start(job)
    await application.pause(PAUSED, reason="DNS provider is down, see ticket 57")


async def steady_traffic(application: Application) -> AsyncGenerator[None, None]:
    """Start one workflow after the other; yield after each."""
    for number, errand in enumerate(itertools.cycle(ERRANDS), start=1):
        handle = await application.start(errand.job(number))
        await asyncio.sleep(SECONDS_BETWEEN)
        if errand.terminated:
            with suppress(RPCError):  # somebody else has ended it
                await handle.terminate(reason=f"ticket {number}")
        await application.execute(_FORGET, kept=ROWS_KEPT)
        yield
