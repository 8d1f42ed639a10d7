"""Workflows with all kinds of handlers and errors. The sandbox reloads this module."""

from __future__ import annotations

import contextlib
from datetime import timedelta
from typing import Any, Sequence  # noqa: UP035 - SDK 1.19 takes no other in a dynamic handler

from temporalio import workflow
from temporalio.common import RawValue
from temporalio.exceptions import ActivityError, ApplicationError

from tests.support.temporal.workflows import ONCE


@workflow.defn
class WithQuery:
    @workflow.query
    def state(self) -> str:
        return "fine"

    @workflow.run
    async def run(self) -> str:
        return "done"


@workflow.defn
class WithSignal:
    @workflow.signal
    def notify(self) -> None: ...

    @workflow.run
    async def run(self) -> str:
        return "done"


@workflow.defn
class WithUpdate:
    @workflow.update
    def change(self) -> None: ...

    @workflow.run
    async def run(self) -> str:
        return "done"


@workflow.defn
class WithDynamicSignal:
    @workflow.signal(dynamic=True)
    def notify(self, name: str, args: Sequence[RawValue]) -> None: ...

    @workflow.run
    async def run(self) -> str:
        return "done"


@workflow.defn
class WithDynamicUpdate:
    @workflow.update(dynamic=True)
    def change(self, name: str, args: Sequence[RawValue]) -> None: ...

    @workflow.run
    async def run(self) -> str:
        return "done"


@workflow.defn
class Inheriting(WithSignal):
    @workflow.run
    async def run(self) -> str:
        return "done"


@workflow.defn
class SettingAHandler:
    @workflow.run
    async def run(self) -> str:
        workflow.set_signal_handler("notify", lambda: None)
        return "done"


class WithoutText(Exception):
    def __str__(self) -> str:
        raise RuntimeError("no text")


def start_charging(how: str) -> workflow.ActivityHandle[Any]:
    return workflow.start_local_activity(
        "charge", how, start_to_close_timeout=timedelta(minutes=5), retry_policy=ONCE
    )


@workflow.defn
class Odd:
    """Fails in odd ways."""

    @workflow.run
    async def run(self, how: str, depth: int) -> Any:
        match how:
            case "deep":
                error = ApplicationError("0", ["details"])
                for level in range(1, depth):
                    outer = ApplicationError(str(level))
                    outer.__cause__, error = error, outer
                raise error
            case "without text":
                raise WithoutText
            case "recursive result":
                nested: list[Any] = []
                for _ in range(100_000):
                    nested = [nested]
                return nested
            case "details":
                raise ApplicationError("details", object(), type="OrderFailed")
            case "leave a local activity behind":
                start_charging("hang")
            case "wait for a local activity":
                with contextlib.suppress(ActivityError):
                    await start_charging("declined")
        return "x" * depth


WORKFLOWS = [
    WithQuery,
    WithSignal,
    WithUpdate,
    WithDynamicSignal,
    WithDynamicUpdate,
    Inheriting,
    SettingAHandler,
    Odd,
]
