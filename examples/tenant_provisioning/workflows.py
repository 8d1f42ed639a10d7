"""The workflow. Nothing in here knows that its end will be written into a row."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta

from temporalio import workflow

with workflow.unsafe.imports_passed_through():
    from tenant_provisioning.activities import create_database, create_dns_zone


@dataclass
class TenantRequest:
    """Who wants what."""

    tenant: str
    plan: str = "standard"


@workflow.defn
class TenantProvisioningWorkflow:
    """Database, zone and, for large customers, somebody who approves."""

    def __init__(self) -> None:
        self.approved = False

    @workflow.signal
    def approve(self) -> None:
        """Let a large customer pass."""
        self.approved = True

    @workflow.run
    async def run(self, request: TenantRequest) -> str:
        """Provision the tenant; where it can be reached."""
        if request.plan == "enterprise":
            await workflow.wait_condition(lambda: self.approved)
        await workflow.execute_activity(
            create_database, request.tenant, start_to_close_timeout=timedelta(seconds=10)
        )
        return await workflow.execute_activity(
            create_dns_zone, request.tenant, start_to_close_timeout=timedelta(seconds=10)
        )
