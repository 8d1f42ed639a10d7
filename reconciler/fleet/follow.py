"""Follows a backfill on many machines to its end.

The backfill does not need its follower. So whatever ends the following, a signal or a lost
connection, ends nothing else.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any, TypeAlias

import structlog
from temporalio.client import WorkflowFailureError, WorkflowHandle, WorkflowQueryFailedError
from temporalio.exceptions import CancelledError
from temporalio.service import RPCError, RPCStatusCode

from reconciler.core.errors import TemporalUnusable, Unusable
from reconciler.core.text import one_line
from reconciler.fleet.messages import PROGRESS, FleetProgress, Result
from reconciler.fleet.under_way import UnderWay, find_under_way
from reconciler.host.causes import Causes
from reconciler.host.steady_clock import steady
from reconciler.temporal.client.error_codes import is_unreachable

#: Seconds between two looks at the progress; and for a worker to answer one.
LOOK_EVERY = 2.0
ANSWER_TIMEOUT = timedelta(seconds=5)
#: Seconds without an answer after which that is said, and from then on again.
SILENCE, AGAIN = 5.0, 60.0

#: Shows the progress, of ranges that have ended and of those that are under way.
Shown: TypeAlias = Callable[[FleetProgress, UnderWay], Awaitable[None]]

log = structlog.get_logger(__name__)


@dataclass(slots=True)
class Follower:
    """Shows the progress of one backfill, and waits for its end."""

    handle: WorkflowHandle[Any, Any]
    #: Where its workers are, for people: `task queue reconciler, namespace default`.
    where: str
    show: Shown
    _failures: Causes = field(default_factory=Causes)
    _heard_at: float = field(default_factory=steady)
    _warned_at: float = float("-inf")

    async def run(self) -> Result:
        """Wait for the result. Raises `Unusable` if the workflow ended without one."""
        ending = asyncio.create_task(self._result())
        try:
            while not ending.done():
                await self._look()
                await asyncio.wait([ending], timeout=LOOK_EVERY)
            return ending.result()
        finally:
            ending.cancel()

    async def _result(self) -> Result:
        while True:
            try:
                result: Result = await self.handle.result(follow_runs=True)
            except WorkflowFailureError as error:
                return await self._without_result(error)
            except RPCError as error:
                if not is_unreachable(error):
                    raise TemporalUnusable(
                        f"cannot follow workflow {self.handle.id}: {error}"
                    ) from error
                await asyncio.sleep(LOOK_EVERY)
            else:
                return result

    async def _without_result(self, error: WorkflowFailureError) -> Result:
        """The result of a backfill that was cancelled, which it only says when it is asked."""
        if isinstance(error.cause, CancelledError):
            progress = await self._ask()
            if progress is not None and progress.result is not None:
                return progress.result
        raise Unusable(
            f"workflow {self.handle.id} has ended: {one_line(str(error.cause), 300)}",
            "what it has written is in `reconciler passes`",
        ) from error

    async def _look(self) -> None:
        progress = await self._ask()
        if progress is None:
            return
        self._heard_at, self._warned_at = steady(), float("-inf")
        with suppress(RPCError):  # the next look comes soon
            ranges = find_under_way(await self.handle.describe())
            for failure in ranges.failures:
                if self._failures.is_news(failure):
                    log.warning("work_not_done", error=failure, hint="it is tried again")
            await self.show(progress, ranges)

    async def _ask(self) -> FleetProgress | None:
        """The progress; None if nobody answers."""
        try:
            progress: FleetProgress = await self.handle.query(
                PROGRESS, result_type=FleetProgress, rpc_timeout=ANSWER_TIMEOUT
            )
        except (RPCError, WorkflowQueryFailedError) as error:
            self._not_answered(error)
            return None
        return progress

    def _not_answered(self, error: Exception) -> None:
        now = steady()
        if now - self._heard_at < SILENCE or now - self._warned_at < AGAIN:
            return
        self._warned_at = now
        if isinstance(error, RPCError) and error.status is RPCStatusCode.UNAVAILABLE:
            log.warning("temporal_unreachable", error=str(error), hint="the backfill waits for it")
        else:
            log.warning("no_worker", polled=self.where, hint="start one: reconciler worker")
