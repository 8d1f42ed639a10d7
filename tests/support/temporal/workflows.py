"""Workflows for every way to end. In its own module, because the sandbox reloads it."""

from __future__ import annotations

import asyncio
import contextlib
from datetime import timedelta
from typing import Any

from temporalio import activity, workflow
from temporalio.common import RetryPolicy
from temporalio.exceptions import ApplicationError

TWICE = RetryPolicy(maximum_attempts=2, initial_interval=timedelta(milliseconds=10))
ONCE = RetryPolicy(maximum_attempts=1)
QUICKLY = RetryPolicy(initial_interval=timedelta(milliseconds=10), backoff_coefficient=1)


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

    @workflow.signal
    def fail(self) -> None:
        raise ApplicationError("in a signal's handler", type="OrderFailed")

    @workflow.signal
    def start_over(self) -> None:
        workflow.continue_as_new(args=["complete", ""])

    @workflow.query
    def is_released(self) -> bool:
        return self.released

    @workflow.run
    async def run(self, script: str, text: str) -> Any:
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
            case "complete with a child":
                await workflow.execute_child_workflow(
                    "Scripted", args=["complete", text], id=f"{workflow.info().workflow_id}/child"
                )
            case "wait for a child":
                await workflow.execute_child_workflow(
                    "Scripted", args=["wait", text], id=f"{workflow.info().workflow_id}/child"
                )
            case "retry an activity":
                await workflow.execute_activity(
                    charge,
                    text,
                    start_to_close_timeout=timedelta(seconds=10),
                    retry_policy=QUICKLY,
                )
            case "wait in an activity":
                await workflow.execute_activity(
                    charge, "hang", start_to_close_timeout=timedelta(minutes=1)
                )
            case "cancel an activity of its own":
                handle = workflow.start_activity(
                    charge, "hang", start_to_close_timeout=timedelta(minutes=1)
                )
                await asyncio.sleep(0.01)
                handle.cancel()
                await handle
            case "cancel itself":
                raise asyncio.CancelledError(text)
            case "complete when cancelled":
                with contextlib.suppress(asyncio.CancelledError):
                    await workflow.wait_condition(lambda: self.released)
            case "time out waiting":
                await workflow.wait_condition(lambda: self.released, timeout=0.01)
            case "return what cannot be serialised":
                return object()
            case "return much":
                return "x" * 2_100_000
            case "fail with much":
                raise ApplicationError(text, "x" * 2_100_000, type="OrderFailed")
            case "fail for good":
                raise ApplicationError(text, type="OrderFailed", non_retryable=True)
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


@workflow.defn(name="Typed", failure_exception_types=[ValueError])
class Typed:
    """Fails with an exception that is declared as a failure type."""

    @workflow.run
    async def run(self, script: str, text: str) -> Any:
        if script == "fail":
            raise ValueError(text)
        return await Scripted().run(script, text)
