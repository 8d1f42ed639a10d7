"""The demo: start servers, run a sample application, show what one pass repairs."""

from __future__ import annotations

import asyncio
import logging
from dataclasses import dataclass
from datetime import datetime, timedelta

import sqlalchemy as sa
from pydantic import SecretStr
from rich.console import Console
from rich.table import Table
from rich.text import Text
from sqlalchemy.ext.asyncio import AsyncEngine
from temporalio.api.common.v1 import WorkflowExecution
from temporalio.api.workflowservice.v1 import RequestCancelWorkflowExecutionRequest
from temporalio.client import Client, WorkflowExecutionStatus, WorkflowHandle
from temporalio.worker import Worker

from reconciler.app.setup import migrate
from reconciler.app.wiring import open_app
from reconciler.console.report import print_report
from reconciler.console.screen import screen, shown
from reconciler.core.model import Mode
from reconciler.core.report.pass_report import PassOutcome
from reconciler.demo.servers import postgres_server, temporal_server
from reconciler.demo.workflows import (
    TASK_QUEUE,
    ProvisionDns,
    ProvisionTenant,
    create_database,
    create_zone,
)
from reconciler.host.logs import configure_logs
from reconciler.postgres.connection.engine import using_engine
from reconciler.settings.model import Settings

#: For the workflows to end; the whole demo takes about ten seconds.
PATIENCE = timedelta(minutes=2)


@dataclass(frozen=True, slots=True)
class Tenant:
    """One row of the sample application, and how its workflow ends."""

    name: str
    kind: str
    story: str
    execution_timeout: timedelta | None = None


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
STAYS_OPEN = "hooli"


async def run_demo(*, keep: bool) -> int:
    """Run the demo; return 0 if the pass repaired every row that it should."""
    configure_logs("warning", as_json=False)
    # The worker would log failures that are part of the story.
    logging.getLogger("temporalio").setLevel(logging.CRITICAL)
    console = screen()
    console.print(_step(1, "Starting PostgreSQL and Temporal …"))
    with postgres_server() as url:
        async with temporal_server() as environment:
            client = environment.client
            settings = Settings(database_url=SecretStr(url))
            await migrate(settings)
            async with _worker(client), using_engine(url) as engine:
                return await _run_steps(console, settings, client, engine, keep=keep)


async def _run_steps(
    console: Console, settings: Settings, client: Client, engine: AsyncEngine, *, keep: bool
) -> int:
    story = (
        f"An application provisions {len(TENANTS)} tenants: a workflow and a row each. "
        "None of the workflows writes its outcome into its row."
    )
    console.print(_step(2, story), soft_wrap=not console.is_terminal)
    await _provision(client, engine)
    console.print("\nThe table now, and what really happened:\n")
    await _print_rows(console, engine, with_story=True)

    console.print()
    console.print(_step(3, "One pass of the reconciler:"))
    console.print()
    temporal = {
        "target_host": client.service_client.config.target_host,
        "namespace": client.namespace,
    }
    async with open_app(settings, writing=True, temporal=temporal) as app:
        report = await app.run_pass(Mode.ONCE, dry_run=False)
    print_report(report, console)
    console.print("\nThe table after it, with Temporal's close times and failures:\n")
    await _print_rows(console, engine, with_story=False)
    if keep:
        await _keep(console, settings, temporal["target_host"])
    repaired = report.outcome is PassOutcome.OK and report.changed == len(TENANTS) - 1
    return 0 if repaired else 1


async def _provision(client: Client, engine: AsyncEngine) -> None:
    handles = {tenant.name: await _start(client, engine, tenant) for tenant in TENANTS}
    await handles["stark"].terminate(reason="ticket 42")
    await _cancel(client, handles["tyrell"].id, reason="customer withdrew")
    async with asyncio.timeout(PATIENCE.total_seconds()):
        for name, handle in handles.items():
            if name != STAYS_OPEN:
                await _closed(handle)


async def _cancel(client: Client, workflow_id: str, reason: str) -> None:
    # By hand, as the handle's method takes a reason only since SDK 1.28.
    await client.workflow_service.request_cancel_workflow_execution(
        RequestCancelWorkflowExecutionRequest(
            namespace=client.namespace,
            workflow_execution=WorkflowExecution(workflow_id=workflow_id),
            reason=reason,
        )
    )


async def _start(
    client: Client, engine: AsyncEngine, tenant: Tenant
) -> WorkflowHandle[ProvisionTenant, str]:
    """Insert the row, start the workflow, store its first run id, as applications do."""
    workflow_id = f"tenant-{tenant.name}"
    insert = sa.text(
        "INSERT INTO workflow_executions (workflow_id, workflow_type)"
        " VALUES (:workflow_id, 'ProvisionTenant')"
    )
    store_run = sa.text("UPDATE workflow_executions SET run_id = :run WHERE workflow_id = :id")
    async with engine.begin() as connection:
        await connection.execute(insert, {"workflow_id": workflow_id})
    handle = await client.start_workflow(
        ProvisionTenant.run,
        args=[tenant.name, tenant.kind, 0],
        id=workflow_id,
        task_queue=TASK_QUEUE,
        execution_timeout=tenant.execution_timeout,
    )
    async with engine.begin() as connection:
        parameters = {"id": workflow_id, "run": handle.first_execution_run_id}
        await connection.execute(store_run, parameters)
    return handle


async def _closed(handle: WorkflowHandle[ProvisionTenant, str]) -> None:
    not_over = (WorkflowExecutionStatus.RUNNING, WorkflowExecutionStatus.CONTINUED_AS_NEW)
    while (await handle.describe()).status in not_over:
        await asyncio.sleep(0.1)


async def _print_rows(console: Console, engine: AsyncEngine, *, with_story: bool) -> None:
    query = sa.text(
        "SELECT workflow_id, status, completed_at, error_message FROM workflow_executions"
        " ORDER BY id"
    )
    async with engine.connect() as connection:
        rows = (await connection.execute(query)).all()
    stories = {f"tenant-{tenant.name}": tenant.story for tenant in TENANTS}
    table = Table(box=None, pad_edge=False)
    for heading in ("workflow_id", "status", "completed_at"):
        table.add_column(heading, no_wrap=True)
    table.add_column("what happened" if with_story else "error_message", overflow="fold")
    for workflow_id, status, completed_at, error in rows:
        last = stories[workflow_id] if with_story else error or ""
        table.add_row(shown(workflow_id), _coloured(status), _time(completed_at), shown(last))
    console.print(table)


def _step(number: int, story: str) -> Text:
    return shown((f"{number}.", "bold"), f" {story}")


def _coloured(status: str) -> Text:
    colours = {"running": "yellow", "completed": "green", "failed": "red"}
    return shown(status, style=colours.get(status, ""))


def _time(value: datetime | None) -> str:
    return "" if value is None else f"{value:%H:%M:%S.%f}"


async def _keep(console: Console, settings: Settings, address: str) -> None:
    url = settings.database_url.get_secret_value()
    console.print()
    console.print(_step(4, "The servers stay up until Ctrl-C. In another terminal:"))
    console.print()
    for line in (
        f"export DATABASE_URL='{url}'",
        f"export TEMPORAL_ADDRESS={address}",
        "reconciler once --dry-run",
        f"reconciler explain tenant-{STAYS_OPEN}",
        "reconciler changes",
        "reconciler undo --last",
        f"reconciler run      # and then: temporal workflow terminate -w tenant-{STAYS_OPEN}",
    ):
        console.print(shown(f"  {line}"), soft_wrap=True)
    await asyncio.Event().wait()


def _worker(client: Client) -> Worker:
    return Worker(
        client,
        task_queue=TASK_QUEUE,
        workflows=[ProvisionTenant, ProvisionDns],
        activities=[create_database, create_zone],
        graceful_shutdown_timeout=timedelta(seconds=1),
    )
