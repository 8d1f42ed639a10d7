"""What the daemon says about itself over HTTP: whether it is alive, ready, and all its metrics."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable
from dataclasses import dataclass
from typing import Any, TypeVar

from prometheus_client import CollectorRegistry, generate_latest

from reconciler.app.lease import Keeper
from reconciler.app.wiring import App
from reconciler.core.errors import Unusable
from reconciler.core.ports import Heartbeat
from reconciler.daemon.schedule import Schedule
from reconciler.postgres.connection.clock import host_time
from reconciler.web.metrics.passes import PassMetrics
from reconciler.web.metrics.state import State, StateCollector

#: Seconds without a turn of the loop after which it is taken for dead. A turn takes five, and
#: some more while the database is silent: nothing that is merely slow comes near this.
STANDSTILL = 60.0
#: Scheduled passes that may go by without a good one before the replica is not ready.
READY_PASSES = 3
NOT_STARTED = "a pass was due, and none was started"
#: Seconds that Temporal and the database have to answer a probe.
CHECK_TIMEOUT = 3.0

_T = TypeVar("_T")


@dataclass(slots=True)
class Health:
    """Implements the web side's `Vitals`; the daemon fills in what it has as it gets it."""

    schedule: Schedule
    registry: CollectorRegistry
    #: Why there is nothing yet; None once both sides have been connected to.
    waiting_for: str | None = "starting"
    app: App | None = None
    keeper: Keeper | None = None
    passes: PassMetrics | None = None
    last_good: Heartbeat | None = None

    def __post_init__(self) -> None:
        self.registry.register(StateCollector(self.state))

    def standstill(self) -> str | None:
        """Why the loop does not turn any more. Waiting for a server is no reason."""
        if self.keeper is None:
            return None
        idle = time.monotonic() - self.keeper.turned_at
        if idle > STANDSTILL:
            return f"the loop has stood still for {idle:.0f} s"
        gave_up_at = self.keeper.gave_up_at
        stalled = gave_up_at is not None and time.monotonic() - gave_up_at > STANDSTILL
        return NOT_STARTED if stalled else None

    async def readiness(self) -> tuple[bool, dict[str, Any]]:
        """Ready: both sides answer, and the replica that passes does so in time.

        One that stands by is ready whatever the other does, or a rollout that mends a failing
        pass could never come to its end. One that waits after a failure does not stand by.
        """
        if self.app is None or self.keeper is None:
            return False, {"role": "starting", "why": self.waiting_for}
        database, (_, temporal) = await asyncio.gather(
            self._beat(self.app), _answer(self.app.check_temporal())
        )
        stalled = None if self.keeper.gave_up_at is None else NOT_STARTED
        why = database or temporal or self.keeper.trouble or stalled
        if why is None and not self.keeper.stands_by:
            why = self._late()
        return why is None, {
            "role": self._role(self.keeper),
            "why": why,
            "last_good_pass": self.last_good and self.last_good.finished_at.isoformat(),
        }

    @staticmethod
    def _role(keeper: Keeper) -> str:
        if keeper.holds:
            return "holder"
        return "standby" if keeper.stands_by else "waiting"

    async def scrape(self) -> bytes:
        """All metrics; the time of the last good pass is that of all replicas together."""
        if self.app is not None:
            await asyncio.gather(self._beat(self.app), _answer(self.app.clock.read()))
        return generate_latest(self.registry)

    def state(self) -> State:
        """For the gauges."""
        now = host_time() if self.app is None else self.app.clock.now()
        due = self.schedule.due_after(now, 1)
        interval = self.schedule.due_after(due, 1) - due
        if self.app is None or self.keeper is None:
            return State(interval=interval)
        return State(
            lease_held=self.keeper.holds,
            interval=interval,
            last_good_pass=None if self.last_good is None else self.last_good.finished_at,
            retention=self.app.retention,
            rate=self.app.rpc.rate,
            calls=self.app.rpc.ended_calls,
            undecoded=self.app.undecoded,
            clock_skew=self.app.clock.ahead,
        )

    async def _beat(self, app: App) -> str | None:
        """Read the heartbeat; why it cannot be read, if so.

        A pass of this process is in the database a moment before its metrics are: not until then
        does it count.
        """
        beat, why = await _answer(app.history.heartbeat())
        if beat and not (self.passes and self.passes.under_way == beat.pass_id):
            self.last_good = beat
        return why

    def _late(self) -> str | None:
        """Why the last good pass is too old; long passes make for long gaps."""
        if self.last_good is None:
            return "no pass has come to its end yet"
        due = self.schedule.due_after(self.last_good.finished_at, READY_PASSES)
        if self.last_good.read_at <= due + READY_PASSES * self.last_good.duration:
            return None
        return f"{READY_PASSES} passes are overdue"


async def _answer(asked: Awaitable[_T]) -> tuple[_T | None, str | None]:
    """The answer, or why there is none."""
    try:
        async with asyncio.timeout(CHECK_TIMEOUT):
            return await asked, None
    except TimeoutError:
        return None, f"no answer within {CHECK_TIMEOUT:.0f} s"
    except Unusable as error:
        return None, str(error)
