"""Workflows for every way to stay open. In its own module, because the sandbox reloads it."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import Any

from temporalio import activity, workflow
from temporalio.common import RetryPolicy
from temporalio.exceptions import ApplicationError

#: The next attempt is not due while a test runs.
RARELY = RetryPolicy(initial_interval=timedelta(minutes=10), maximum_attempts=10)
HOUR = timedelta(hours=1)


@activity.defn(name="create_zone")
async def create_zone(what: str) -> None:
    if what == "hang":
        await asyncio.Event().wait()
    raise ApplicationError(what, type="QuotaExceeded")


@workflow.defn(name="Provision")
class Provision:
    """Does what its argument says."""

    def __init__(self) -> None:
        self.signals = 0

    @workflow.signal
    def touch(self) -> None:
        self.signals += 1

    @workflow.run
    async def run(self, script: str, about: str) -> None:
        match script:
            case "wait":
                await workflow.wait_condition(lambda: self.signals > 1)
            case "fail the task":
                raise ValueError(about)
            case "attempt":
                await self.attempt(about, schedule_to_close_timeout=HOUR)
            case "attempt without end":
                await self.attempt(about, heartbeat_timeout=timedelta(minutes=1))
            case "attempt elsewhere":
                await self.attempt("anything", task_queue=about)
            case "have a child":
                child = f"{workflow.info().workflow_id}/child"
                await workflow.execute_child_workflow(
                    "Provision", args=[about, "zones: 50"], id=child
                )
            case "call":
                client = workflow.create_nexus_client(service="payments", endpoint=about)
                await client.execute_operation("charge", "order-77")

    async def attempt(self, what: str, **options: Any) -> None:
        await workflow.execute_activity(
            "create_zone", what, start_to_close_timeout=HOUR, retry_policy=RARELY, **options
        )
