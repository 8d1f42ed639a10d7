"""Workflows that report by hand. The sandbox reloads this module, and the package it imports."""

from __future__ import annotations

import dataclasses
from datetime import timedelta

from temporalio import workflow
from temporalio.api.failure.v1 import Failure
from temporalio.common import RetryPolicy
from temporalio.converter import (
    DefaultFailureConverter,
    PayloadConverter,
    SerializationContext,
    WithSerializationContext,
)
from temporalio.exceptions import ApplicationError

from reconciler.worker import report_outcome, update_workflow_execution_status

ELSEWHERE = "tests-where-the-database-is"


class Signing(DefaultFailureConverter, WithSerializationContext):
    """Adds the workflow id to each message."""

    where = "nowhere"

    def with_context(self, context: SerializationContext) -> Signing:
        signing = Signing()
        signing.where = getattr(context, "workflow_id", "nowhere")
        return signing

    def to_failure(
        self, exception: BaseException, payload_converter: PayloadConverter, failure: Failure
    ) -> None:
        super().to_failure(exception, payload_converter, failure)
        failure.message += f", in {self.where}"


ACTIVITY = "update_workflow_execution_status"


@dataclasses.dataclass
class Argument:
    value: str


@workflow.defn
class Decorated:
    @workflow.run
    @report_outcome
    async def run(self, script: str, argument: Argument) -> str:
        if script == "fail":
            raise ApplicationError("no money", type="OrderFailed")
        return type(argument).__name__


@workflow.defn
class Slotted:
    __slots__ = ()

    @workflow.run
    @report_outcome
    async def run(self, script: str, argument: Argument) -> str:
        return script


@workflow.defn
class Plain:
    """Says nothing about a target."""

    @workflow.run
    @report_outcome
    async def run(self, script: str, text: str) -> str:
        return script


def graded(result: str) -> str | None:
    """The status for a result, or None to leave the row."""
    return {"well": "completed", "partly": "partly"}.get(result)


@workflow.defn
class Graded:
    @workflow.run
    @report_outcome(status_of=graded)
    async def run(self, script: str, result: str) -> str:
        return result


@workflow.defn
class Derived(Decorated):
    """Continues after the inherited function has returned."""

    @workflow.run
    async def run(self, script: str, argument: Argument) -> str:
        await super().run("complete", argument)
        raise ApplicationError(script, type="OrderFailed")


@workflow.defn
class DerivedAndDecorated(Decorated):
    """The same, but decorated."""

    @workflow.run
    @report_outcome
    async def run(self, script: str, argument: Argument) -> str:
        await super().run("complete", argument)
        raise ApplicationError(script, type="OrderFailed")


@workflow.defn
class Elsewhere:
    """Reports through another worker, and has a failure converter of its own."""

    @workflow.run
    @report_outcome(task_queue=ELSEWHERE, failure_converter=Signing)
    async def run(self, script: str, argument: Argument) -> str:
        raise ApplicationError(script, type="OrderFailed")


@workflow.defn
class Export:
    """Names its target."""

    @workflow.run
    @report_outcome(target="exports")
    async def run(self, script: str, text: str) -> str:
        return script


@workflow.defn
class Parent:
    """Starts a child of a type."""

    @workflow.run
    async def run(self, child: str, text: str) -> str:
        own = f"{workflow.info().workflow_id}/child"
        await workflow.execute_child_workflow(child, args=["done", text], id=own)
        return text


@workflow.defn
class ByHand:
    @workflow.run
    async def run(self, how: str, rounds: int, workflow_id: str) -> bool:
        if rounds:
            workflow.continue_as_new(args=[how, rounds - 1, workflow_id])
        arguments = [workflow_id, "failed", "by hand"]
        if how == "with the run id":
            arguments.append(workflow.info().first_execution_run_id)
        changed: bool = await workflow.execute_activity(
            ACTIVITY if how == "by name" else update_workflow_execution_status,
            args=arguments,
            start_to_close_timeout=timedelta(minutes=1),
            retry_policy=RetryPolicy(maximum_attempts=1),
        )
        return changed
