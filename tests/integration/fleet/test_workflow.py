"""What the workflow makes of its activities, which are scripted here."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from typing import Any

import pytest
from temporalio import activity
from temporalio.api.enums.v1 import PendingActivityState
from temporalio.api.sdk.v1 import WorkflowMetadata
from temporalio.client import Client, WorkflowFailureError, WorkflowHandle
from temporalio.exceptions import CancelledError
from temporalio.worker import Worker

from reconciler.fleet.messages import (
    PROGRESS,
    WORKFLOW,
    Backfill,
    Counts,
    FleetProgress,
    Previewed,
    Result,
    Span,
    State,
)
from reconciler.fleet.tasks import BEGIN, CUT, END, JUDGE, RANGE, Judged, Pieces, range_queue
from reconciler.fleet.totals import no_counts
from reconciler.fleet.workflow import BackfillWorkflow
from tests.support.commands.fleet import SPEED
from tests.support.polling import eventually


@dataclass
class Script:
    """Answers of activities, each once its event is set; and the order in which they ended."""

    client: Client
    workflow_id: str
    ranges: list[list[Span]]
    done: list[str] = field(default_factory=list)
    started: asyncio.Queue[str] = field(default_factory=asyncio.Queue)
    gates: dict[str, asyncio.Event] = field(default_factory=dict)

    def hold(self, name: str) -> asyncio.Event:
        return self.gates.setdefault(name, asyncio.Event())

    async def _pass(self, name: str) -> None:
        self.started.put_nowait(name)
        if gate := self.gates.get(name):
            await asyncio.shield(gate.wait())
        self.done.append(name)

    def activities(self) -> list[Any]:
        answers = {
            BEGIN: State("2026-01-01T00:00:00+00:00", 9, [Span(None, 9)], no_counts()),
            CUT: Pieces(self.ranges, []),
            JUDGE: Judged(no_counts(), False),
            END: Result({}, None, no_counts()),
        }
        return [self._activity(name, answer) for name, answer in answers.items()]

    def range(self) -> Any:
        @activity.defn(name=RANGE)
        async def run_range(given: Any) -> Counts:
            await self._pass(f"{RANGE} {given['spans'][0]['until']}")
            return replace(no_counts(), done={**no_counts().done, "scanned": 3})

        return run_range

    def _activity(self, name: str, answer: Any) -> Any:
        @activity.defn(name=name)
        async def scripted(given: Any) -> Any:
            await self._pass(name)
            return answer

        return scripted

    @asynccontextmanager
    async def worker(self, ranges: int = 4) -> AsyncIterator[None]:
        queue = self.workflow_id
        async with (
            Worker(
                self.client,
                task_queue=queue,
                workflows=[BackfillWorkflow],
                activities=self.activities(),
            ),
            Worker(
                self.client,
                task_queue=range_queue(queue),
                activities=[self.range()],
                max_concurrent_activities=ranges,
            ),
        ):
            yield

    async def start(self, **changed: Any) -> WorkflowHandle[Any, Result]:
        previewed = Previewed("", "t", "default", {}, {}, {}, "")
        backfill = Backfill(previewed, replace(SPEED, **changed), False, {})
        return await self.client.start_workflow(
            WORKFLOW,
            backfill,
            id=self.workflow_id,
            task_queue=self.workflow_id,
            result_type=Result,
        )

    async def reaches(self, *names: str) -> str:
        while (name := await asyncio.wait_for(self.started.get(), 20)) not in names:
            pass
        return name


@pytest.fixture
def script(temporal: Client, workflow_id: str) -> Script:
    return Script(temporal, workflow_id, [[Span(None, 3)], [Span(3, 6)], [Span(6, 9)]])


async def heard(handle: WorkflowHandle[Any, Any]) -> None:
    """Wait until the workflow has passed on its cancellation."""

    async def passed_on() -> bool:
        pending = (await handle.describe()).raw_description.pending_activities
        states = {each.state for each in pending}
        return states == {PendingActivityState.PENDING_ACTIVITY_STATE_CANCEL_REQUESTED}

    await eventually(passed_on)


async def cancelled(handle: WorkflowHandle[Any, Any]) -> None:
    with pytest.raises(WorkflowFailureError) as failed:
        await handle.result()
    assert isinstance(failed.value.cause, CancelledError)


@pytest.mark.parametrize("name", [BEGIN, CUT, JUDGE])
async def test_a_cancellation_during_a_short_activity_that_succeeds_is_not_lost(
    script: Script, name: str
) -> None:
    gate = script.hold(name)
    async with script.worker():
        handle = await script.start()
        await script.reaches(name)
        await handle.cancel()
        await heard(handle)
        gate.set()
        await cancelled(handle)

    assert script.done[-2:] == [name, END]


async def test_its_end_waits_for_ranges_that_are_still_writing(script: Script) -> None:
    """Although those that no worker has begun are cancelled at once."""
    ranges = [f"{RANGE} {until}" for until in (3, 6, 9)]
    gates = [script.hold(each) for each in ranges]
    async with script.worker(ranges=1):
        handle = await script.start(workers=3)
        begun = await script.reaches(*ranges)
        await handle.cancel()
        await heard(handle)
        for gate in gates:
            gate.set()
        await cancelled(handle)

    assert script.done == [BEGIN, CUT, begun, END]


async def test_a_backfill_that_is_cancelled_before_its_first_task_ends(script: Script) -> None:
    handle = await script.start()
    await handle.cancel()
    async with script.worker():
        await cancelled(handle)
        progress = await handle.query(PROGRESS, result_type=FleetProgress)

    assert script.done == [END]
    assert progress.result is not None, "which the command reports"


async def test_temporals_ui_shows_how_far_it_is(script: Script) -> None:
    async with script.worker():
        handle = await script.start()
        await handle.result()
        shown = await handle.query("__temporal_workflow_metadata", result_type=WorkflowMetadata)

    assert shown.current_details == "9 of about 9 rows"
