"""`reconciler run`: passes on a schedule, for months.

A failed pass is retried after a growing delay; meanwhile the lease is released, since another
replica may fare better. On a signal, the loop stops the pass at the next row, writes what has been
decided, and exits within ten seconds.

```
connect to both servers, waiting for the one that is unreachable, then
keeper     claims the lease      acquired ─► feed, a pass at once      lost ─► stop both
feed       polls; the pass leaves what has closed to it, and sweeps, once every row was looked at
scheduler  when a pass is due and the lease is held: app.run_pass("run", [metrics, feed])
             failed  ─► stop the feed, drop pooled connections, release the lease for a while
             stopped ─► nothing: a signal or a lost lease stopped it
web        asks health: the keeper's last claim, both servers, the last good pass
```

Limits: a claim 5 s, a call to Temporal 10 s, a statement 30 s, its answer 60 s, stopping 9 s.
"""

from __future__ import annotations

import asyncio
import contextlib
from datetime import timedelta

import structlog

from reconciler.app.app import App
from reconciler.app.feed import open_feed
from reconciler.app.lease import LeaseKeeper
from reconciler.core.errors import Unusable
from reconciler.core.model import Mode
from reconciler.daemon.feed_loop import FeedLoop
from reconciler.daemon.health import Health
from reconciler.daemon.schedule import MAX_JITTER, Schedule, ahead, jitter, retry_delay
from reconciler.daemon.scheduler import Scheduler
from reconciler.host.steady_clock import steady
from reconciler.passes.observers import Bystander
from reconciler.web.metrics.passes import PassMetrics

#: Seconds for a stopped pass to write what it has decided.
DRAIN_TIMEOUT = 6.0
#: Seconds from one pass over every row to the next that the feed asks for, at least.
SOON = 60.0

log = structlog.get_logger(__name__)


class Loop:
    """Runs a pass when one is due and this process holds the lease."""

    def __init__(
        self,
        app: App,
        schedule: Schedule,
        metrics: PassMetrics,
        health: Health,
        out_of_step: float = 0.0,
    ) -> None:
        """`out_of_step`: of an interval, by which it is ahead of the first loop of the process."""
        self._app, self._schedule, self._out_of_step = app, schedule, out_of_step
        self._metrics, self._health = metrics, health
        self._record = health.record
        self._keeper = LeaseKeeper(
            app.lease(),
            on_acquired=self._lease_acquired,
            on_lost=self._lease_lost,
            on_failed=self._claim_failed,
            is_overdue=self._is_overdue,
        )
        settings = app.settings
        self._feed = FeedLoop(
            lambda: open_feed(app, [Bystander(metrics)]),
            settings.feed_interval,
            settings.list_limits(),
            on_gap=self._run_soon,
            on_crash=lambda: metrics.crash(Mode.FEED),
            on_failed=lambda why: self._record.failed("feed", why),
            sharers=app.rpc.sharers,
        )
        self._scheduler = Scheduler()
        self._passing: asyncio.Task[None] | None = None
        #: The `steady` time by which a pass must have started, whatever the scheduler does.
        self._due_by = float("inf")
        #: Whether the pass has been asked to stop; and the loop.
        self._stopping = self._ending = False
        self._failures = 0
        self._began_at = float("-inf")
        #: How much sooner than usual the pass after the first is due.
        self._sooner = timedelta()
        health.connected(app, self._keeper, metrics, self._feed)

    async def run(self) -> None:
        """Run until cancelled."""
        with contextlib.suppress(Unusable):  # the first pass reports it
            await self._app.clock.read()  # cron uses the database's time
        self._scheduler.add(Mode.RUN, self._run_due_pass, self._until_next)
        self._scheduler.start()
        table, namespace = self._app.settings.table, self._app.namespace.name
        log.info("loop_started", schedule=str(self._schedule), namespace=namespace, table=table)
        if not self._app.journals:
            log.warning("journal_off", hint="every replica passes, changes cannot be undone")
        try:
            await self._keeper.run()
        finally:
            self._ending = True
            self._scheduler.stop()
            await self._drain()
            await self._keeper.release()

    def _lease_acquired(self) -> None:
        self._feed.start()
        self._sooner = ahead(self._schedule, self._out_of_step)
        self._run_at_once()

    def _run_soon(self) -> None:
        """Look at every row: a feed cannot say what closed before. Not again and again."""
        if not self._is_passing and steady() - self._began_at >= SOON:
            self._run_at_once()

    def _run_at_once(self) -> None:
        self._due_by = steady() + MAX_JITTER.total_seconds()
        self._scheduler.at_once(Mode.RUN)

    def _until_next(self, since: timedelta | None) -> timedelta:
        """The time until the next pass, by the database's clock, as for readiness."""
        since = None if since is None else since + self._sooner
        wait = self._schedule.wait(self._app.clock.now(), since)
        return wait + jitter(self._schedule, self._out_of_step)

    def _next_due(self) -> float:
        return steady() + (self._until_next(None) + MAX_JITTER).total_seconds()

    def _is_overdue(self) -> bool:
        return steady() > self._due_by and not self._is_passing and not self._ending

    @property
    def _is_passing(self) -> bool:
        return self._passing is not None and not self._passing.done()

    async def _claim_failed(self) -> None:
        self._record.failed("lease", self._keeper.last_error or "")
        await self._app.forget_connections()

    def _lease_lost(self) -> None:
        self._forget()
        self._feed.stop()
        self._stop_pass()

    def _stop_pass(self) -> None:
        if self._passing and self._is_passing and not self._stopping:
            self._stopping = True
            self._passing.cancel()  # once: a second time would give up the write

    async def _run_due_pass(self) -> None:
        """Run a pass if the lease is held; repeat it if the lease was lost and is held again."""
        self._stopping, self._sooner = True, timedelta()
        while self._stopping and self._keeper.holds and not self._ending:
            self._stopping, self._keeper.gave_up_at = False, None
            self._due_by = self._next_due()
            # A task of its own: the scheduler would cancel the pass when it is shut down.
            self._passing = asyncio.create_task(self._pass())
            with contextlib.suppress(asyncio.CancelledError):  # APScheduler would log it
                await asyncio.wait({self._passing})
            self._due_by = max(self._due_by, self._next_due())

    async def _pass(self) -> None:
        self._began_at = steady()
        self._record.pass_began_at = self._app.clock.now()
        next_due = self._began_at + self._schedule.wait(self._app.clock.now(), None).total_seconds()
        try:
            feed = await self._feed.set_up()
            observers = [Bystander(each) for each in (self._metrics, feed) if each is not None]
            report = await self._app.run_pass(
                Mode.RUN,
                dry_run=False,
                observers=observers,
                remap=True,
                stretch_only=feed is not None and feed.covers_every_row,
            )
        except Exception:
            log.exception("pass_crashed", hint="this is a bug, please report it")
            self._metrics.crash()
            await self._back_off("a bug, see the log")
            return
        if report.stopped:
            return
        if report.error is not None:
            await self._back_off(report.error)
            return
        self._failures, self._record.retry_at = 0, None
        await self._health.passed()
        if steady() > next_due:
            self._metrics.overrun()
            log.warning(
                "pass_overran",
                hint="the next one starts when it is due",
                seconds=round(report.duration_seconds, 1),
                rows=report.tally.scanned,
            )

    async def _back_off(self, why: str) -> None:
        self._failures += 1
        self._forget()
        delay = retry_delay(self._failures)
        self._record.failed("pass", why)
        self._record.retry_at = self._app.clock.now() + timedelta(seconds=delay)
        self._feed.stop()
        log.warning("pass_failed", error=why, failures=self._failures, retry_in=round(delay, 1))
        await self._keeper.release_for(delay)
        await self._app.forget_connections()

    def _forget(self) -> None:
        """What this replica has counted is not shown any more: another may count meanwhile."""
        self._metrics.forget()
        self._app.stuck_counts.by_reason = None

    async def _drain(self) -> None:
        """Let both write what they have decided; cancel them again after `DRAIN_TIMEOUT`."""
        self._stop_pass()
        self._feed.stop()
        ending = {task for task in (self._passing, self._feed.task) if task is not None}
        if not ending:
            return
        with contextlib.suppress(asyncio.CancelledError):  # a second signal
            await asyncio.wait(ending, timeout=DRAIN_TIMEOUT)
        late = {task for task in ending if not task.done()}
        for task in late:
            task.cancel()
        if late:
            await asyncio.wait(late)
