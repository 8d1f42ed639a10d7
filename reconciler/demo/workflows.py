"""The workflows of the sample application: they provision tenants, or fail to.

Temporal's workflow sandbox loads this module, so it imports nothing of the reconciler.
"""

from __future__ import annotations

import asyncio
from datetime import timedelta

from temporalio import activity, workflow
from temporalio.common import RetryPolicy
from temporalio.exceptions import ApplicationError

#: Tenants whose zones exceed the limit, besides those whose names begin with `big-`.
TOO_BIG = frozenset(
    {"initech", "umbrella", "cyberdyne", "weyland", "soylent", "oscorp", "aperture"}
)
#: For steps that are given up soon.
TWICE = RetryPolicy(maximum_attempts=2, initial_interval=timedelta(milliseconds=100))
#: For steps that are repeated until somebody raises the limit.
FOR_EVER = RetryPolicy(
    initial_interval=timedelta(milliseconds=500), maximum_interval=timedelta(seconds=30)
)


@activity.defn(name="create_database")
async def create_database(tenant: str) -> str:
    """Always succeeds."""
    return f"{tenant}_db"


@activity.defn(name="create_zone")
async def create_zone(tenant: str) -> None:
    """Fails for some tenants: their zones exceed the limit."""
    if tenant in TOO_BIG or tenant.startswith("big-"):
        raise ApplicationError("zone limit is 50", type="QuotaExceeded")


@workflow.defn
class ProvisionDns:
    """A step that is a workflow of its own."""

    @workflow.run
    async def run(self, tenant: str, gives_up: bool) -> None:  # noqa: FBT001
        """Create the tenant's zone; try twice, or until it succeeds."""
        await workflow.execute_activity(
            create_zone,
            tenant,
            start_to_close_timeout=timedelta(seconds=5),
            retry_policy=TWICE if gives_up else FOR_EVER,
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
            case "by a child" | "by a persistent child":
                await workflow.execute_child_workflow(
                    ProvisionDns.run,
                    args=[tenant, kind == "by a child"],
                    id=f"{workflow.info().workflow_id}/dns",
                )
            case "slowly":
                await workflow.sleep(timedelta(seconds=4))
                await ProvisionDns().run(tenant, gives_up=True)
            case _:
                await ProvisionDns().run(tenant, gives_up=kind != "persistently")
        return database


@workflow.defn
class SendInvoice:
    """Ends after two seconds."""

    @workflow.run
    async def run(self, number: str) -> str:
        """Send an invoice."""
        await workflow.sleep(timedelta(seconds=2))
        return number


@workflow.defn
class MoveRegion:
    """Has a bug: such a workflow does not fail, Temporal tries its task again and again."""

    @workflow.run
    async def run(self, region: str) -> str:
        """Look up where to move to."""
        return {"region-1": "region-2"}[region]
