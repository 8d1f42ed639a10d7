"""Workflows that take what they are sent until nothing is left. The sandbox reloads this module."""

from __future__ import annotations

from temporalio import workflow


@workflow.defn
class Draining:
    """Returns what it has been sent as soon as there is nothing left to take."""

    def __init__(self) -> None:
        self.sent: list[int] = []

    @workflow.signal
    def send(self, number: int) -> None:
        self.sent.append(number)

    @workflow.run
    async def run(self) -> list[int]:
        return self.sent


@workflow.defn
class Answering:
    """Ends with its first update, which it answers."""

    def __init__(self) -> None:
        self.numbers: list[int] = []

    @workflow.update
    def answer(self, number: int) -> int:
        self.numbers.append(number)
        return number

    @workflow.run
    async def run(self) -> list[int]:
        await workflow.wait_condition(lambda: bool(self.numbers))
        return self.numbers


WORKFLOWS = [Draining, Answering]
