"""Sample traffic: `python -m tenant_provisioning.traffic`. Every third workflow is terminated.

With a worker, the other workflows complete and write their own ends; without one they stay open.
The rows of the terminated ones stay running until the reconciler repairs them.
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import logging
import os
from uuid import uuid4

from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker, create_async_engine
from temporalio.client import Client

from tenant_provisioning.models import WorkflowExecution
from tenant_provisioning.service import TenantService, workflow_id
from tenant_provisioning.workflows import TenantRequest

SECONDS_BETWEEN = 2.0

log = logging.getLogger(__name__)


async def provision(
    client: Client, sessions: async_sessionmaker[AsyncSession], number: int
) -> None:
    """Provision a tenant; every third one waits for an approval, and is terminated."""
    tenant, unlucky = f"acme-{uuid4().hex[:8]}", number % 3 == 0
    request = TenantRequest(tenant, "enterprise" if unlucky else "standard")
    run_id = await TenantService(client, sessions).start(request)
    # Each name is new, so no index has to prevent a second row.
    async with sessions.begin() as session:
        session.add(
            WorkflowExecution(
                workflow_id=workflow_id(tenant),
                run_id=run_id,
                workflow_type="TenantProvisioningWorkflow",
                status="running",
            )
        )
    if unlucky:
        handle = client.get_workflow_handle(workflow_id(tenant))
        await handle.terminate(reason=f"ticket {number}")
    log.info("%s: %s", tenant, "terminated" if unlucky else "started")


async def main(tenants: int | None) -> None:
    """Provision this many tenants; None: endless, one every `SECONDS_BETWEEN`."""
    logging.basicConfig(level=logging.INFO)
    client = await Client.connect(os.environ["TEMPORAL_ADDRESS"])
    engine = create_async_engine(os.environ["DATABASE_URL"])
    sessions = async_sessionmaker(engine)
    try:
        for number in itertools.count() if tenants is None else range(tenants):
            await provision(client, sessions, number)
            if tenants is None:
                await asyncio.sleep(SECONDS_BETWEEN)
    finally:
        await engine.dispose()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--tenants", type=int, help="how many; default: until interrupted")
    asyncio.run(main(parser.parse_args().tenants))
