"""Namespaces for tests that must not see the workflows of others."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from uuid import uuid4

from google.protobuf.duration_pb2 import Duration
from temporalio.api.workflowservice.v1 import RegisterNamespaceRequest
from temporalio.client import Client
from temporalio.service import RPCError

from tests.support.polling import deadline


async def new_namespace(
    temporal: Client, purpose: str, retention: timedelta = timedelta(days=1)
) -> Client:
    """Register a namespace; returns when workflows can be started in it, and none has closed."""
    name = f"{purpose}-{uuid4().hex[:8]}"
    kept = Duration(seconds=int(retention.total_seconds()))
    await temporal.workflow_service.register_namespace(
        RegisterNamespaceRequest(namespace=name, workflow_execution_retention_period=kept)
    )
    client = Client(temporal.service_client, namespace=name)
    async with deadline():
        while True:
            try:
                await client.start_workflow("Any", id="first", task_queue="nobody")
            except RPCError:  # a new namespace takes a moment to become known
                await asyncio.sleep(0.05)
            else:
                return client
