"""The sample application's side of its workflows: a row for each, and what its operators do."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import sqlalchemy as sa
from google.protobuf.duration_pb2 import Duration
from sqlalchemy.ext.asyncio import AsyncEngine
from temporalio.api.common.v1 import WorkflowExecution
from temporalio.api.namespace.v1 import NamespaceConfig
from temporalio.api.workflowservice.v1 import (
    RequestCancelWorkflowExecutionRequest,
    UpdateNamespaceRequest,
)
from temporalio.client import Client, WorkflowHandle
from temporalio.worker import Worker

from reconciler.demo.workflows import (
    MoveRegion,
    ProvisionDns,
    ProvisionTenant,
    SendInvoice,
    create_database,
    create_zone,
)

#: The server's option for workflows that operators can pause.
PAUSABLE = ("--dynamic-config-value", "frontend.WorkflowPauseEnabled=true")
_INSERT = sa.text(
    "INSERT INTO workflow_executions (workflow_id, workflow_type) VALUES (:id, :type)"
)
_STORE_RUN = sa.text("UPDATE workflow_executions SET run_id = :run WHERE workflow_id = :id")


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """A workflow to start, and its row."""

    workflow_id: str
    workflow_type: str = "ProvisionTenant"
    arguments: tuple[object, ...]
    task_queue: str
    execution_timeout: timedelta | None = None


class Application:
    """Starts workflows and keeps a row for each."""

    def __init__(self, client: Client, engine: AsyncEngine) -> None:
        self.client, self.engine = client, engine
        #: How to connect to Temporal.
        self.temporal: Mapping[str, str] = {
            "target_host": client.service_client.config.target_host,
            "namespace": client.namespace,
        }

    async def start(self, job: Job) -> WorkflowHandle[Any, Any]:
        """Insert the row, start the workflow, store its first run id, as applications do."""
        await self.execute(_INSERT, id=job.workflow_id, type=job.workflow_type)
        handle = await self.client.start_workflow(
            job.workflow_type,
            args=job.arguments,
            id=job.workflow_id,
            task_queue=job.task_queue,
            execution_timeout=job.execution_timeout,
        )
        await self.execute(_STORE_RUN, id=job.workflow_id, run=handle.first_execution_run_id)
        return handle

    async def execute(self, statement: sa.TextClause, **parameters: object) -> None:
        """Run a statement in a transaction of its own."""
        async with self.engine.begin() as connection:
            await connection.execute(statement, parameters)

    async def cancel(self, workflow_id: str, reason: str) -> None:
        """Ask a workflow to end."""
        # By hand, as the handle's method takes a reason only since SDK 1.28.
        await self.client.workflow_service.request_cancel_workflow_execution(
            RequestCancelWorkflowExecutionRequest(
                namespace=self.client.namespace,
                workflow_execution=WorkflowExecution(workflow_id=workflow_id),
                reason=reason,
            )
        )

    async def shorten_retention(self) -> None:
        """Let Temporal forget a workflow an hour after its end, the least that it allows."""
        config = NamespaceConfig(workflow_execution_retention_ttl=Duration(seconds=3600))
        await self.client.workflow_service.update_namespace(
            UpdateNamespaceRequest(namespace=self.client.namespace, config=config)
        )

    async def pause(self, workflow_id: str, reason: str) -> None:
        """Pause a workflow, as Temporal's UI does; not with an SDK that is too old for it."""
        try:
            from temporalio.api.workflowservice.v1 import PauseWorkflowExecutionRequest
        except ImportError:
            return
        await self.client.workflow_service.pause_workflow_execution(
            PauseWorkflowExecutionRequest(
                namespace=self.client.namespace,
                workflow_id=workflow_id,
                identity="ops@example.com",
                reason=reason,
            )
        )


def worker(client: Client, task_queue: str, **options: Any) -> Worker:
    """A worker for all workflows of the application; `options` are those of `Worker`."""
    return Worker(
        client,
        task_queue=task_queue,
        workflows=[ProvisionTenant, ProvisionDns, SendInvoice, MoveRegion],
        activities=[create_database, create_zone],
        graceful_shutdown_timeout=timedelta(seconds=1),
        **options,
    )
