"""Workflows that come to every end there is. In a module of its own: the sandbox reloads it."""

from __future__ import annotations

import asyncio
from datetime import timedelta

from temporalio import activity, workflow
from temporalio.common import RetryPolicy
from temporalio.exceptions import ApplicationError

TWICE = RetryPolicy(maximum_attempts=2, initial_interval=timedelta(milliseconds=10))
ONCE = RetryPolicy(maximum_attempts=1)


@activity.defn(name="charge")
async def charge(how: str) -> None:
    if how == "hang":
        await asyncio.Event().wait()
    raise ApplicationError(how, type="PaymentDeclined")


@workflow.defn(name="Scripted")
class Scripted:
    """Does what its argument says."""

    def __init__(self) -> None:
        self.released = False

    @workflow.signal
    def release(self) -> None:
        self.released = True

    @workflow.run
    async def run(self, script: str, text: str) -> str:
        match script:
            case "complete":
                return text
            case "wait":
                await workflow.wait_condition(lambda: self.released)
                return text
            case "fail":
                raise ApplicationError(text, type="OrderFailed")
            case "fail without a type":
                raise ApplicationError(text)
            case "fail the task":
                raise ValueError(text)
            case "fail in an activity":
                await workflow.execute_activity(
                    charge,
                    text,
                    start_to_close_timeout=timedelta(seconds=10),
                    retry_policy=TWICE,
                )
            case "fail, wrapping an activity's failure":
                try:
                    await workflow.execute_activity(
                        charge,
                        text,
                        start_to_close_timeout=timedelta(seconds=10),
                        retry_policy=ONCE,
                    )
                except Exception as error:
                    raise ApplicationError("order 17", type="OrderFailed") from error
            case "time out in an activity":
                await workflow.execute_activity(
                    charge,
                    "hang",
                    start_to_close_timeout=timedelta(milliseconds=200),
                    retry_policy=ONCE,
                )
            case "fail in a child":
                await workflow.execute_child_workflow(
                    "Scripted",
                    args=["fail in an activity", text],
                    id=f"{workflow.info().workflow_id}/child",
                )
            case "fail until the third attempt":
                if workflow.info().attempt < 3:
                    raise ApplicationError(text, type="Flaky")
            case "continue once":
                if workflow.info().continued_run_id is None:
                    workflow.continue_as_new(args=[script, text])
            case "continue, then wait":
                if workflow.info().continued_run_id is None:
                    workflow.continue_as_new(args=[script, text])
                await workflow.wait_condition(lambda: self.released)
        return text
