"""The workflow of a distributed backfill: who does what when. What it decides is in the activities.

```
begin ─► cut ─► W ranges at a time ─► continue as new until all are done ─► judge ─► end
          ▲                                                                   │
          └──────────── second sweep, over the missing rows to fail ◄─────────┘
```
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta
from typing import Any, TypeVar

from temporalio import workflow
from temporalio.api.common.v1 import Payload
from temporalio.common import RawValue, RetryPolicy
from temporalio.exceptions import ActivityError, ApplicationError, is_cancelled_exception

with workflow.unsafe.imports_passed_through():
    from reconciler.fleet import tasks
    from reconciler.fleet.messages import (
        PROGRESS,
        REFUSED,
        WORKFLOW,
        Backfill,
        Counts,
        FleetProgress,
        Result,
        Span,
        State,
        read_message,
    )
    from reconciler.fleet.tasks import (
        BEGIN,
        CUT,
        END,
        JUDGE,
        RANGE,
        Begin,
        Cut,
        Ending,
        Judged,
        Judging,
        Pieces,
        RangeWork,
        Work,
        range_queue,
        summary,
    )
    from reconciler.fleet.totals import Totals, no_counts, rows_in
    from reconciler.host.cancellation import is_cancelled

#: No activity takes this long; the heartbeat decides.
LONGEST = timedelta(days=365)
RETRY = RetryPolicy(initial_interval=timedelta(seconds=1), maximum_interval=timedelta(seconds=10))

#: The input of a workflow that was started without one.
_NOTHING = RawValue(Payload())

_Answer = TypeVar("_Answer")


@workflow.defn(name=WORKFLOW)
class BackfillWorkflow:
    """A backfill by all workers of a task queue."""

    def __init__(self) -> None:
        self._state = State("", 0, (), no_counts())
        self._work: Work | None = None
        self._under_way = 0
        #: The ranges of this run that have ended, by their place; and what they went through.
        self._counted: dict[int, Counts] = {}
        self._ranges: Sequence[Sequence[Span]] = ()
        self._result: Result | None = None

    @workflow.query(name=PROGRESS)
    def progress(self) -> FleetProgress:
        """How far it is."""
        pass_id, state = workflow.info().first_execution_run_id, self._state
        totals, is_second = self._totals().as_counts(), state.is_second
        # Only the workflow needs the spans.
        totals = replace(totals, to_recheck=())
        return FleetProgress(
            pass_id, state.rows, totals, self._under_way, is_second=is_second, result=self._result
        )

    @workflow.run
    async def run(self, given: RawValue = _NOTHING) -> Result:
        """Run one stretch of it. Raises `ApplicationError` for an input that it cannot use."""
        backfill = _read(given)
        self._work = Work(
            workflow.info().first_execution_run_id,
            backfill.previewed,
            backfill.speed,
            backfill.dry_run,
        )
        try:
            await self._run(backfill)
        except asyncio.CancelledError:
            await self._end(stopped=True)
            raise
        except ActivityError as error:
            if is_cancelled_exception(error):
                await self._end(stopped=True)
                raise
            raise _in_one_line(error) from error
        assert self._result is not None  # noqa: S101 - else it continued as new
        return self._result

    async def _run(self, backfill: Backfill) -> None:
        begin = Begin(self._given, backfill.asked)
        state = backfill.state
        self._state = await self._step(BEGIN, begin, State) if state is None else state
        await self._run_ranges(backfill.speed.ranges_per_run)
        if self._state.rest:
            self._continue(backfill)
        tripped = False
        if not self._state.is_second:
            to_recheck = self._state.totals.to_recheck
            totals = replace(self._state.totals, to_recheck=())
            judged = await self._step(JUDGE, Judging(self._given, totals), Judged)
            tripped = judged.tripped
            self._state = replace(self._state, totals=judged.totals)
            if to_recheck and not tripped and not backfill.dry_run:
                self._state = replace(self._state, rest=to_recheck, is_second=True)
                self._continue(backfill)
        await self._end(tripped=tripped)

    def _continue(self, backfill: Backfill) -> None:
        workflow.continue_as_new(replace(backfill, state=self._state))

    @property
    def _given(self) -> Work:
        assert self._work is not None  # noqa: S101 - set at the start
        return replace(self._work, started_at=self._state.started_at)

    async def _run_ranges(self, ranges: int) -> None:
        """Run the next ranges, as many at a time as agreed, and add up what they count."""
        if not self._state.rest:
            return
        cut = Cut(self._given, self._state.rest, ranges)
        pieces = await self._step(CUT, cut, Pieces)
        self._ranges = pieces.ranges
        waiting = iter(enumerate(pieces.ranges))

        async def work() -> None:
            for place, spans in waiting:
                self._under_way += 1
                try:
                    self._counted[place] = await self._run_range(spans)
                    workflow.set_current_details(self._in_words())
                except ActivityError as error:
                    # No worker had begun it. The others have still to write what they decided.
                    if not is_cancelled_exception(error):
                        raise
                finally:
                    self._under_way -= 1
                if is_cancelled():
                    return

        try:
            await asyncio.gather(*(work() for _ in range(self._given.speed.workers)))
        finally:
            totals = self._totals().as_counts()
            self._state = replace(self._state, rest=pieces.rest, totals=totals)
            self._counted.clear()

    def _in_words(self) -> str:
        """The progress for Temporal's UI."""
        counted = [self._state.totals, *self._counted.values()]
        done = f"{sum(map(rows_in, counted)):,} of about {self._state.rows:,} rows"
        return "failing missing rows" if self._state.is_second else done

    async def _run_range(self, spans: Sequence[Span]) -> Counts:
        state = self._state
        given = RangeWork(self._given, spans, is_second=state.is_second, swept=state.swept)
        queue = range_queue(workflow.info().task_queue)
        return await self._do(RANGE, given, Counts, queue, summary(spans))

    def _totals(self) -> Totals:
        totals = Totals(self._state.totals)
        for place in sorted(self._counted):
            if self._state.is_second:
                totals.add_second(self._counted[place])
            else:
                totals.add(self._counted[place], self._ranges[place])
        return totals

    async def _end(self, *, tripped: bool = False, stopped: bool = False) -> None:
        totals = replace(self._state.totals, to_recheck=())
        ending = Ending(
            self._given,
            totals,
            self._state.warnings,
            tripped=tripped,
            stopped=stopped,
            is_second=self._state.is_second,
        )
        self._result = await self._do(END, ending, Result)

    async def _step(self, name: str, given: Any, answer: type[_Answer]) -> _Answer:
        """Do what comes before the end."""
        done = await self._do(name, given, answer)
        if is_cancelled():  # the activity had succeeded all the same
            raise asyncio.CancelledError
        return done

    async def _do(
        self,
        name: str,
        given: Any,
        answer: type[_Answer],
        queue: str | None = None,
        summary: str | None = None,
    ) -> _Answer:
        done: _Answer = await workflow.execute_activity(
            name,
            given,
            result_type=answer,
            task_queue=queue,
            summary=summary,
            start_to_close_timeout=LONGEST,
            heartbeat_timeout=timedelta(seconds=tasks.HEARTBEAT_TIMEOUT),
            retry_policy=RETRY,
            # A range that is cancelled writes what it has decided, and says what that was.
            cancellation_type=workflow.ActivityCancellationType.WAIT_CANCELLATION_COMPLETED,
        )
        return done


def _read(given: RawValue) -> Backfill:
    try:
        return read_message(Backfill, workflow.payload_converter().from_payload(given.payload))
    except Exception as error:  # noqa: BLE001 - whatever is wrong with it
        # Otherwise the task would fail, and be tried again for ever.
        raise ApplicationError(
            f"the input is not one that this version of reconciler knows: {error}",
            type=REFUSED,
            non_retryable=True,
        ) from None


def _in_one_line(error: ActivityError) -> ApplicationError:
    cause = error.cause or error
    text = cause.message if isinstance(cause, ApplicationError) else str(cause)
    return ApplicationError(text, type=REFUSED, non_retryable=True)
