"""The story of the demo: eight tenants, how their workflows end, and their rows."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import sqlalchemy as sa
from rich.console import Console
from rich.table import Table
from rich.text import Text
from sqlalchemy.ext.asyncio import AsyncEngine
from temporalio.client import WorkflowExecutionStatus, WorkflowHandle

from reconciler.console.screen import shown
from reconciler.demo.application import Application, Job

#: Its worker has no plugin.
TASK_QUEUE = "tenants"
#: For the workflows to end; the whole demo takes about ten seconds.
PATIENCE = timedelta(minutes=2)


@dataclass(frozen=True, slots=True)
class Tenant:
    """One row of the sample application, and how its workflow ends."""

    name: str
    kind: str
    story: str
    execution_timeout: timedelta | None = None

    @property
    def job(self) -> Job:
        """Its workflow."""
        return Job(
            workflow_id=f"tenant-{self.name}",
            arguments=(self.name, self.kind, 0),
            task_queue=TASK_QUEUE,
            execution_timeout=self.execution_timeout,
        )


TENANTS = (
    Tenant("acme", "plain", "completes"),
    Tenant("globex", "in rounds", "completes after two continue-as-new"),
    Tenant("initech", "plain", "fails in an activity"),
    Tenant("umbrella", "by a child", "fails in a child workflow"),
    Tenant("stark", "waits for approval", "is terminated by an operator"),
    Tenant("tyrell", "waits for approval", "is cancelled"),
    Tenant("wayne", "waits for approval", "times out", timedelta(seconds=2)),
    Tenant("hooli", "waits for approval", "is still waiting for approval"),
)
STAYS_OPEN = "tenant-hooli"


def step(number: int, story: str) -> Text:
    """The heading of a part of the demo."""
    return shown((f"{number}.", "bold"), f" {story}")


async def provision(application: Application) -> None:
    """Start all workflows, and wait until those that end have ended."""
    handles = [await application.start(tenant.job) for tenant in TENANTS]
    by_id = {handle.id: handle for handle in handles}
    await by_id["tenant-stark"].terminate(reason="ticket 42")
    await application.cancel("tenant-tyrell", reason="customer withdrew")
    async with asyncio.timeout(PATIENCE.total_seconds()):
        for handle in handles:
            if handle.id != STAYS_OPEN:
                await _closed(handle)


async def _closed(handle: WorkflowHandle[Any, Any]) -> None:
    not_over = (WorkflowExecutionStatus.RUNNING, WorkflowExecutionStatus.CONTINUED_AS_NEW)
    while (await handle.describe()).status in not_over:
        await asyncio.sleep(0.1)


async def print_rows(console: Console, engine: AsyncEngine, *, with_story: bool) -> None:
    """Print the table, with what happened or with the error messages."""
    query = sa.text(
        "SELECT workflow_id, status, completed_at, error_message FROM workflow_executions"
        " ORDER BY id"
    )
    async with engine.connect() as connection:
        rows = (await connection.execute(query)).all()
    stories = {tenant.job.workflow_id: tenant.story for tenant in TENANTS}
    table = Table(box=None, pad_edge=False)
    for heading in ("workflow_id", "status", "completed_at"):
        table.add_column(heading, no_wrap=True)
    table.add_column("what happened" if with_story else "error_message", overflow="fold")
    for workflow_id, status, completed_at, error in rows:
        last = stories[workflow_id] if with_story else error or ""
        table.add_row(shown(workflow_id), _coloured(status), _time(completed_at), shown(last))
    console.print(table)


def _coloured(status: str) -> Text:
    colours = {"running": "yellow", "completed": "green", "failed": "red"}
    return shown(status, style=colours.get(status, ""))


def _time(value: datetime | None) -> str:
    return "" if value is None else f"{value:%H:%M:%S.%f}"
