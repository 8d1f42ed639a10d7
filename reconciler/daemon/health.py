"""What the loop reports about itself over HTTP: whether it is alive, ready, and its metrics."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from prometheus_client import CollectorRegistry, generate_latest

from reconciler.app.app import App
from reconciler.app.lease import LeaseKeeper
from reconciler.app.overview.patience import in_time
from reconciler.core.errors import ConfigurationError, TemporalUnusable, Unusable
from reconciler.core.model import Mode
from reconciler.core.ports import Heartbeat
from reconciler.daemon.feed_loop import FeedLoop
from reconciler.daemon.record import LoopRecord
from reconciler.daemon.schedule import Schedule
from reconciler.postgres.connection.clock import host_time
from reconciler.web.metrics.feed import FeedCollector, FeedGauges
from reconciler.web.metrics.gauges import Gauges, GaugesCollector
from reconciler.web.metrics.passes import PassMetrics
from reconciler.web.metrics.stuck import StuckCollector, StuckGauges

#: Seconds without a renewal of the lease after which the loop counts as dead. One comes every five
#: seconds, or somewhat later while the database does not answer.
STALLED_AFTER = 60.0
#: Scheduled passes without a good one after which the replica is not ready.
READY_PASSES = 3
NOT_STARTED = "a pass was due, and none was started"
#: Seconds for Temporal and the database to answer a probe: less than a view of the page waits, so
#: that the first view of a server that is silent says so.
CHECK_TIMEOUT = 2.5
#: The servers by name.
DATABASE, TEMPORAL = "PostgreSQL", "Temporal"
#: What can keep a target from being served, beside a server that is unreachable.
REJECTED, CRASHED = "settings", "loop"


@dataclass(slots=True)
class Health:
    """Implements `HealthSource` for a target. Its loop fills in the parts as they come."""

    schedule: Schedule
    registry: CollectorRegistry
    #: Why the loop has not started yet; None once both servers are connected.
    waiting_for: str | None = "starting"
    #: The bug that ended the loop; None once it runs again.
    crash: str | None = None
    app: App | None = None
    keeper: LeaseKeeper | None = None
    passes: PassMetrics | None = None
    feed: FeedLoop | None = None
    last_good: Heartbeat | None = None
    record: LoopRecord = field(default_factory=LoopRecord)

    def __post_init__(self) -> None:
        self.registry.register(GaugesCollector(self.gauges))
        self.registry.register(FeedCollector(self.feed_gauges))
        self.registry.register(StuckCollector(self.stuck_gauges))

    def connected(self, app: App, keeper: LeaseKeeper, passes: PassMetrics, feed: FeedLoop) -> None:
        """Both servers are connected, and the loop starts."""
        self.app, self.keeper, self.passes, self.feed = app, keeper, passes, feed
        self.waiting_for = self.crash = None
        self.record.clock = app.clock.now

    def not_connected(self, error: Unusable) -> None:
        """A server could not be used at the start; it is tried again."""
        self.waiting_for = str(error)
        self.record.failed(server_of(error), str(error))

    def rejected(self, error: ConfigurationError | Unusable) -> None:
        """A server answers, and rejects the settings of this target; it is tried again."""
        self.waiting_for = str(error)
        self.record.failed(REJECTED, str(error))

    def crashed(self, error: BaseException, again_in: timedelta) -> None:
        """A bug has ended the loop; it is started again."""
        self.app = self.keeper = self.feed = None
        again = f"started again in {again_in.total_seconds():.0f} s"
        self.waiting_for = self.crash = f"internal error: {error!r}; {again}"
        self.record.failed(CRASHED, repr(error))
        if self.passes is not None:
            self.passes.forget()
            self.passes.crash()

    def now(self) -> datetime:
        """By the database's clock, once that is connected."""
        return self.record.clock()

    def pass_metrics(self) -> PassMetrics:
        """The metrics of its passes, which count on when the loop starts again."""
        if self.passes is None:
            self.passes = PassMetrics(self.registry, Mode.RUN, self.now)
        return self.passes

    def is_up(self) -> bool:
        """Whether the loop runs, or is about to: both servers are connected."""
        return self.waiting_for is None

    def why_stalled(self) -> str | None:
        """Why the loop counts as dead; None while it runs, even if it waits for a server."""
        if self.keeper is None:
            return None
        idle = time.monotonic() - self.keeper.renewed_at
        if idle > STALLED_AFTER:
            return f"the loop has stood still for {idle:.0f} s"
        gave_up_at = self.keeper.gave_up_at
        stalled = gave_up_at is not None and time.monotonic() - gave_up_at > STALLED_AFTER
        return NOT_STARTED if stalled else None

    async def readiness(self) -> tuple[bool, dict[str, Any]]:
        """Ready if both servers answer and, unless on standby, good passes come in time.

        A standby does not depend on the holder's passes, or a rollout that fixes failing passes
        could never finish. A replica that backs off after a failure is not on standby. Nor does it
        depend on the feed: what that does not find is found by passes, only later.
        """
        if self.app is None or self.keeper is None:
            return False, {"role": self.role, "why": self.waiting_for}
        database, temporal = await self.look(self.app)
        stalled = None if self.keeper.gave_up_at is None else NOT_STARTED
        why = database or temporal or self.keeper.last_error or stalled
        if why is None and not self.keeper.is_standby:
            why = self.why_late()
        return why is None, {
            "role": self.role,
            "why": why,
            "last_good_pass": self.last_good and self.last_good.finished_at.isoformat(),
            "feed": self.feed and self.feed.why_failing,
        }

    async def look(self, app: App) -> tuple[str | None, str | None]:
        """Why the database, and why Temporal, does not answer; None if it does."""
        database, (_, temporal) = await asyncio.gather(
            self._read_heartbeat(app), in_time(app.check_temporal, CHECK_TIMEOUT)
        )
        for what, why in ((DATABASE, database), (TEMPORAL, temporal)):
            if why is None:
                self.record.works(what)
            else:
                self.record.failed(what, why)
        return database, temporal

    async def passed(self) -> None:
        """Note a good pass of this process, for which both servers have answered."""
        if self.app is not None:
            await self._read_heartbeat(self.app)
        for what in (DATABASE, TEMPORAL):
            self.record.works(what)

    @property
    def role(self) -> str:
        """What this replica does."""
        if self.keeper is None:
            return "starting"
        if self.keeper.holds:
            return "holder"
        return "standby" if self.keeper.is_standby else "waiting"

    async def refresh(self) -> None:
        """Read what metrics show. The time of the last good pass is that of any replica."""
        if self.app is not None:
            await asyncio.gather(
                self._read_heartbeat(self.app), in_time(self.app.clock.read, CHECK_TIMEOUT)
            )

    def gauges(self) -> Gauges:
        """The present state."""
        now = host_time() if self.app is None else self.app.clock.now()
        due = self.schedule.due_after(now, 1)
        interval = self.schedule.due_after(due, 1) - due
        if self.app is None or self.keeper is None:
            return Gauges(interval=interval)
        return Gauges(
            lease_held=self.keeper.holds,
            interval=interval,
            last_good_pass=None if self.last_good is None else self.last_good.finished_at,
            retention=self.app.retention,
            rate=self.app.rpc.rate,
            calls=self.app.rpc.ended_calls + self.app.feed_rpc.ended_calls,
            undecoded=self.app.undecoded,
            clock_skew=self.app.clock.ahead,
        )

    def feed_gauges(self) -> FeedGauges:
        """The present state of the feed."""
        return FeedGauges() if self.feed is None else self.feed.gauges()

    def stuck_gauges(self) -> StuckGauges:
        """The stuck rows, on the replica that passes."""
        if self.app is None or self.keeper is None or not self.keeper.holds:
            return StuckGauges(host_time())
        return StuckGauges(self.app.clock.now(), self.app.stuck_counts.by_reason)

    async def _read_heartbeat(self, app: App) -> str | None:
        """Read the heartbeat; return why that failed, or None.

        A pass of this process counts only once its metrics do, shortly after it is in the database.
        """
        heartbeat, why = await in_time(app.history.heartbeat, CHECK_TIMEOUT)
        if heartbeat and not (self.passes and self.passes.unfinished == heartbeat.pass_id):
            self.last_good = heartbeat
        return why

    def why_late(self) -> str | None:
        """Why the last good pass is too old; the longer it took, the older it may be."""
        if self.last_good is None:
            return "no pass has come to its end yet"
        due = self.schedule.due_after(self.last_good.finished_at, READY_PASSES)
        if self.last_good.read_at <= due + READY_PASSES * self.last_good.duration:
            return None
        return f"{READY_PASSES} passes are overdue"


async def scrape(registry: CollectorRegistry, healths: Iterable[Health]) -> bytes:
    """All metrics of this process."""
    await asyncio.gather(*(each.refresh() for each in healths))
    return generate_latest(registry)


def server_of(error: Unusable) -> str:
    """The server that cannot be used."""
    return TEMPORAL if isinstance(error, TemporalUnusable) else DATABASE
