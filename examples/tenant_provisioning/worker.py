"""The worker: `python -m tenant_provisioning.worker`."""

from __future__ import annotations

import asyncio
import logging
import os

from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine
from temporalio.client import Client
from temporalio.worker import Worker

from reconciler.worker import ReconcilerPlugin
from tenant_provisioning.activities import create_database, create_dns_zone
from tenant_provisioning.service import TASK_QUEUE
from tenant_provisioning.workflows import TenantProvisioningWorkflow


def create_worker(client: Client, engine: AsyncEngine) -> Worker:
    """The worker, with the plugin that makes its workflows write their ends."""
    return Worker(
        client,
        task_queue=TASK_QUEUE,
        workflows=[TenantProvisioningWorkflow],
        activities=[create_database, create_dns_zone],
        plugins=[ReconcilerPlugin(engine)],
    )


async def main() -> None:
    """Run the worker until interrupted."""
    logging.basicConfig(level=logging.INFO)
    client = await Client.connect(os.environ["TEMPORAL_ADDRESS"])
    engine = create_async_engine(os.environ["DATABASE_URL"])
    try:
        await create_worker(client, engine).run()
    finally:
        await engine.dispose()


if __name__ == "__main__":
    asyncio.run(main())
