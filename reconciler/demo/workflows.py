"""The sample application: workflows that provision tenants, or fail to.

Temporal's workflow sandbox loads this module, so it imports nothing of the reconciler.
"""

from __future__ import annotations

import asyncio
from datetime import timedelta

from temporalio import activity, workflow
from temporalio.common import RetryPolicy
from temporalio.exceptions import ApplicationError

TASK_QUEUE = "tenants"


@activity.defn(name="create_database")
async def create_database(tenant: str) -> str:
    """Always succeeds."""
    return f"{tenant}_db"


@activity.defn(name="create_zone")
async def create_zone(tenant: str) -> None:
    """Fails for some tenants: their zones exceed the limit."""
    if tenant in ("initech", "umbrella"):
        raise ApplicationError("zone limit is 50", type="QuotaExceeded")


@workflow.defn
class ProvisionDns:
    """A step that is a workflow of its own."""

    @workflow.run
    async def run(self, tenant: str) -> None:
        """Create the tenant's zone; try twice."""
        await workflow.execute_activity(
            create_zone,
            tenant,
            start_to_close_timeout=timedelta(seconds=5),
            retry_policy=RetryPolicy(
                maximum_attempts=2, initial_interval=timedelta(milliseconds=100)
            ),
        )


@workflow.defn
class ProvisionTenant:
    """Creates a database and a zone; in some cases somebody has to approve."""

    @workflow.run
    async def run(self, tenant: str, kind: str, round_: int) -> str:
        """Provision a tenant in the way that `kind` names."""
        database = await workflow.execute_activity(
            create_database, tenant, start_to_close_timeout=timedelta(seconds=5)
        )
        match kind:
            case "in rounds" if round_ < 2:
                workflow.continue_as_new(args=[tenant, kind, round_ + 1])
            case "waits for approval":
                await asyncio.Future()
            case "by a child":
                await workflow.execute_child_workflow(
                    ProvisionDns.run, tenant, id=f"{workflow.info().workflow_id}/dns"
                )
            case _:
                await ProvisionDns().run(tenant)
        return database
