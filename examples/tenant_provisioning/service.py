"""Starts a workflow and keeps a row for it: two writes to two systems, in one of two orders.

Use `insert_then_start`. A crash between its two writes leaves a row without a workflow: it is
visible, the reconciler reports it as never started, and the next request starts it. A crash between
the two writes of `start_then_insert` leaves a workflow without a row, which nobody notices.
"""

from __future__ import annotations

from sqlalchemy import select, text, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker
from temporalio.client import Client
from temporalio.common import WorkflowIDConflictPolicy

from tenant_provisioning.models import WorkflowExecution
from tenant_provisioning.workflows import TenantProvisioningWorkflow, TenantRequest

TASK_QUEUE = "tenant-provisioning"


class TenantService:
    """The API's operations, without HTTP."""

    def __init__(self, client: Client, sessions: async_sessionmaker[AsyncSession]) -> None:
        self._client = client
        self._sessions = sessions

    async def insert_then_start(self, request: TenantRequest) -> None:
        """Provision a tenant: the row first. Use this order.

        The workflow may end before its run id is stored; its row is then found without it.
        """
        await self.insert_row(request.tenant)
        # The row is committed, and no transaction is open while Temporal is called.
        run_id = await self.start(request)
        async with self._sessions.begin() as session:
            await session.execute(
                update(WorkflowExecution)
                .where(
                    WorkflowExecution.workflow_id == workflow_id(request.tenant),
                    WorkflowExecution.status == "running",
                    WorkflowExecution.run_id.is_(None),
                )
                .values(run_id=run_id)
            )

    async def start_then_insert(self, request: TenantRequest) -> None:
        """Provision a tenant: the workflow first. It saves a write, but can lose a workflow.

        The workflow may end before it has a row, and then cannot write its end: the row stays
        running until the reconciler repairs it.
        """
        run_id = await self.start(request)
        await self.insert_row(request.tenant, run_id)

    async def approve(self, tenant: str) -> None:
        """Approve a large customer."""
        handle = self._client.get_workflow_handle(workflow_id(tenant))
        await handle.signal(TenantProvisioningWorkflow.approve)

    async def cancel(self, tenant: str, reason: str) -> None:
        """Stop provisioning a tenant."""
        await self._client.get_workflow_handle(workflow_id(tenant)).cancel(reason=reason)

    async def latest(self, tenant: str) -> WorkflowExecution | None:
        """The newest row of a tenant. Only reads the database."""
        query = (
            select(WorkflowExecution)
            .where(WorkflowExecution.workflow_id == workflow_id(tenant))
            .order_by(WorkflowExecution.id.desc())
            .limit(1)
        )
        async with self._sessions() as session:
            return await session.scalar(query)

    async def insert_row(self, tenant: str, run_id: str | None = None) -> None:
        """Insert a running row, unless the tenant has one."""
        values = {
            "workflow_id": workflow_id(tenant),
            "run_id": run_id,
            "workflow_type": "TenantProvisioningWorkflow",
        }
        async with self._sessions.begin() as session:
            await session.execute(
                insert(WorkflowExecution)
                .values(values)
                .on_conflict_do_nothing(
                    index_elements=["workflow_id"], index_where=text("status = 'running'")
                )
            )

    async def start(self, request: TenantRequest) -> str | None:
        """Start the workflow, or find the running one; return the first run of its chain."""
        handle = await self._client.start_workflow(
            TenantProvisioningWorkflow.run,
            request,
            id=workflow_id(request.tenant),
            task_queue=TASK_QUEUE,
            id_conflict_policy=WorkflowIDConflictPolicy.USE_EXISTING,
        )
        return handle.first_execution_run_id


def workflow_id(tenant: str) -> str:
    """The same for every request: a tenant has one workflow at a time."""
    return f"tenant-{tenant}"
