"""Workflows whose end can be serialised only once. The sandbox reloads this module."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from typing import Any

from temporalio import workflow
from temporalio.exceptions import ApplicationError, ChildWorkflowError

with workflow.unsafe.imports_passed_through():
    from reconciler.worker import report_outcome


def broken() -> Iterator[int]:
    yield 1
    raise ApplicationError("no second item", type="Broken")


def make(kind: str) -> Any:
    """A result, or the details of an error."""
    match kind:
        case "generator":
            return (each for each in [1, 2, 3])
        case "map":
            return map(str, [1, 2, 3])
        case "zip":
            return zip("ab", [1, 2], strict=True)
        case "nested":
            return {"items": map(str, [1, 2])}
        case "large":
            return ("x" * 1_000 for _ in range(1_200))
        case "broken":
            return broken()
    raise LookupError(kind)


async def run(how: str, kind: str) -> Any:
    if how == "raise":
        raise ApplicationError("no money", make(kind), type="OrderFailed")
    if how == "return":
        return make(kind)
    child = workflow.execute_child_workflow(
        workflow.info().workflow_type,
        args=[how.removeprefix("child: "), kind],
        id=f"{workflow.info().workflow_id}/child",
        run_timeout=timedelta(minutes=1),
    )
    try:
        return await child
    except ChildWorkflowError as error:
        return list(getattr(error.cause, "details"))  # noqa: B009 - of an ApplicationError


@workflow.defn
class Once:
    @workflow.run
    async def run(self, how: str, kind: str) -> Any:
        return await run(how, kind)


@workflow.defn
class OnceWithSignal:
    @workflow.signal
    def notify(self) -> None: ...

    @workflow.run
    async def run(self, how: str, kind: str) -> Any:
        return await run(how, kind)


@workflow.defn
class OnceByHand:
    @workflow.run
    @report_outcome
    async def run(self, how: str, kind: str) -> Any:
        return await run(how, kind)


WORKFLOWS = [Once, OnceWithSignal, OnceByHand]
