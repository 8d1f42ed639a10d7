"""The workflows of the stored histories. The sandbox reloads this module."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import Any, Sequence  # noqa: UP035 - SDK 1.19 takes no other in a dynamic handler

from temporalio import activity, workflow
from temporalio.common import RawValue, RetryPolicy
from temporalio.exceptions import ApplicationError

with workflow.unsafe.imports_passed_through():
    from reconciler.worker import report_outcome

TIMES: dict[str, Any] = {
    "start_to_close_timeout": timedelta(seconds=10),
    "retry_policy": RetryPolicy(maximum_attempts=1),
}


@activity.defn(name="pack")
async def pack(item: str) -> str:
    if item == "broken":
        raise ApplicationError("it is broken", type="PackingFailed")
    if item == "hang":
        await asyncio.Event().wait()
    return f"packed {item}"


@workflow.defn(name="Order")
class Order:
    """Returns its items, which signals and updates may change."""

    def __init__(self) -> None:
        self.items: list[Any] = []
        self.done = False
        self.may_go_on = False

    @workflow.signal
    def add(self, item: str) -> None:
        self.items.append(item)

    @workflow.signal
    def finish(self) -> None:
        self.done = True

    @workflow.signal
    async def add_packed(self, item: str) -> None:
        self.items.append(await workflow.execute_activity(pack, item, **TIMES))

    @workflow.signal
    def break_down(self, how: str) -> None:
        if how == "start over":
            workflow.continue_as_new(args=["return items", ""])
        if how == "cancel":
            raise asyncio.CancelledError
        if how == "plainly":
            raise RuntimeError(how)
        raise ApplicationError(how, type="SignalFailed")

    @workflow.signal
    def add_rubbish(self, _: str) -> None:
        self.items.append(object())

    @workflow.signal
    def go_on(self) -> None:
        self.may_go_on = self.done = True

    @workflow.signal(dynamic=True)
    def anything(self, name: str, args: Sequence[RawValue]) -> None:
        self.items.append(name)

    @workflow.update
    def put(self, item: str) -> int:
        if item == "nothing":
            raise ApplicationError("there is nothing to put", type="Refused")
        self.items.append(item)
        return len(self.items)

    @put.validator
    def check_put(self, item: str) -> None:
        if item == "invalid":
            raise ApplicationError("invalid", type="Invalid")

    @workflow.update
    async def put_packed(self, item: str) -> str:
        packed: str = await workflow.execute_activity(pack, item, **TIMES)
        self.items.append(packed)
        return packed

    @workflow.update
    async def finish_and_pack(self, item: str) -> str:
        self.done = True
        packed: str = await workflow.execute_activity(pack, item, **TIMES)
        return packed

    @workflow.update
    def put_and_finish(self, item: str) -> list[Any]:
        self.items.append(item)
        self.done = True
        return self.items

    @workflow.update
    async def finish_and_break_down(self, how: str) -> None:
        await workflow.wait_condition(lambda: self.may_go_on)
        await asyncio.sleep(0.01)
        self.break_down(how)

    @workflow.update(dynamic=True)
    def any_update(self, name: str, args: Sequence[RawValue]) -> str:
        return name

    @workflow.query
    def held(self) -> list[Any]:
        return self.items

    @workflow.run
    async def run(self, script: str, text: str) -> Any:
        return await self.follow(script, text)

    async def follow(self, script: str, text: str) -> Any:
        match script:
            case "wait":
                await workflow.wait_condition(lambda: self.done)
            case "fail":
                raise ApplicationError("no money", self.items, type="OrderFailed")
            case "fail once":
                if workflow.info().attempt == 1:
                    raise ApplicationError("no money", type="OrderFailed")
            case "pack":
                await workflow.execute_activity(pack, text, **TIMES)
            case "pack here":
                await workflow.execute_local_activity(pack, text, **TIMES)
            case "order a part":
                await workflow.execute_child_workflow(
                    "Order", args=["return items", ""], id=f"{workflow.info().workflow_id}/part"
                )
            case "continue":
                if workflow.info().continued_run_id is None:
                    workflow.continue_as_new(args=[script, text])
            case "cancel packing":
                packing = workflow.start_activity(pack, "hang", **TIMES)
                await asyncio.sleep(0.01)
                packing.cancel()
                await packing
            case "leave work behind":
                workflow.start_activity(pack, text, **TIMES)
                self.timer = asyncio.create_task(self._tick())
            case "handle at run time":
                workflow.set_signal_handler("late_signal", self.add)
                workflow.set_update_handler("late_update", self.put)
        return self.items

    async def _tick(self) -> None:
        while True:
            await asyncio.sleep(0.05)
            self.items.append("tick")


@workflow.defn(name="OrderByHand")
class OrderByHand(Order):
    """Reports its own end."""

    @workflow.run
    @report_outcome
    async def run(self, script: str, text: str) -> Any:  # type: ignore[override]
        return await self.follow(script, text)


@workflow.defn(name="Quiet")
class Quiet:
    """Has neither signal nor update handlers."""

    @workflow.run
    async def run(self, script: str, text: str) -> Any:
        if script == "fail":
            raise ApplicationError("no money", type="OrderFailed")
        return None if script == "nothing" else text


WORKFLOWS = [Order, OrderByHand, Quiet]
