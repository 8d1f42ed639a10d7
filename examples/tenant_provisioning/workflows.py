"""The workflow. It does not know that its end is written to a row."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta

from temporalio import workflow

with workflow.unsafe.imports_passed_through():
    from tenant_provisioning.activities import create_database, create_dns_zone


@dataclass
class TenantRequest:
    """The tenant to provision, and its plan."""

    tenant: str
    plan: str = "standard"


@workflow.defn
class TenantProvisioningWorkflow:
    """Creates a database and a zone; a large customer has to be approved first."""

    def __init__(self) -> None:
        self.approved = False

    @workflow.signal
    def approve(self) -> None:
        """Approve a large customer."""
        self.approved = True

    @workflow.run
    async def run(self, request: TenantRequest) -> str:
        """Provision the tenant; return its host name."""
        if request.plan == "enterprise":
            await workflow.wait_condition(lambda: self.approved)
        await workflow.execute_activity(
            create_database, request.tenant, start_to_close_timeout=timedelta(seconds=10)
        )
        return await workflow.execute_activity(
            create_dns_zone, request.tenant, start_to_close_timeout=timedelta(seconds=10)
        )
