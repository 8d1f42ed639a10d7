"""Whether a server answers; an open port says little."""

from __future__ import annotations

import asyncio

import asyncpg
from temporalio.api.workflowservice.v1 import DescribeNamespaceRequest
from temporalio.client import Client
from temporalio.service import RPCError

from reconciler.temporal.client.runtime import quiet_runtime


async def postgres_answers(url: str) -> bool:
    """Whether it accepts clients, which it does not while it recovers from a crash."""
    try:
        connection = await asyncpg.connect(url, timeout=5)
    except (OSError, asyncpg.CannotConnectNowError):
        return False
    await connection.close()
    return True


async def temporal_answers(address: str) -> bool:
    """Whether it accepts clients and knows its namespace."""
    try:
        async with asyncio.timeout(5):
            client = await Client.connect(address, runtime=quiet_runtime())
            request = DescribeNamespaceRequest(namespace="default")
            await client.workflow_service.describe_namespace(request)
    except (RuntimeError, RPCError, TimeoutError):
        return False
    return True
