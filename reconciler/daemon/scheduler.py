"""APScheduler on a clock that cannot be set. The only module that knows APScheduler.

Its own triggers use the host's clock: set back by an hour, no job is due for an hour; set ahead
by years, every time that was missed is listed before one is run.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from datetime import datetime, timedelta, tzinfo
from typing import TypeAlias

from apscheduler.schedulers.asyncio import AsyncIOScheduler
from apscheduler.triggers.base import BaseTrigger

from reconciler.host.steady_clock import steady

#: How long from now until a job is due, given how long ago it was due last; None at first.
Wait: TypeAlias = Callable[[timedelta | None], timedelta]


class SteadyTime(tzinfo):
    """The scheduler's time zone, in which it is as many seconds past an epoch as `elapsed` says.

    APScheduler takes the time from `datetime.now(timezone)` alone, for which Python hands the
    host's UTC time to the time zone. This one ignores it.
    """

    EPOCH = datetime(2000, 1, 1)  # noqa: DTZ001 - any will do

    def __init__(self, elapsed: Callable[[], float] = steady) -> None:
        self._elapsed = elapsed

    def fromutc(self, _: datetime) -> datetime:
        """The time now."""
        return (self.EPOCH + timedelta(seconds=self._elapsed())).replace(tzinfo=self)

    def utcoffset(self, _: datetime | None) -> timedelta:
        """None: its times are compared with one another only."""
        return timedelta()

    def dst(self, _: datetime | None) -> timedelta:
        """None."""
        return timedelta()

    def tzname(self, _: datetime | None) -> str:
        """For people."""
        return "steady"


class Scheduler:
    """Runs jobs in the event loop when they are due, each one at a time.

    A job that was due several times while it could not run is run once.
    """

    def __init__(self, elapsed: Callable[[], float] = steady) -> None:
        self._time = SteadyTime(elapsed)
        self._scheduler = AsyncIOScheduler(timezone=self._time)

    def add(self, name: str, job: Callable[[], Awaitable[None]], wait: Wait) -> None:
        """Run `job` when it is due. It has to be `async`, or it would run in a thread."""
        # A misfire would be judged by the host's clock.
        once_at_a_time = {"max_instances": 1, "coalesce": True, "misfire_grace_time": None}
        self._scheduler.add_job(job, _Due(wait), id=name, **once_at_a_time)

    def at_once(self, name: str) -> None:
        """Run this job now, and then when it is due after that."""
        self._scheduler.modify_job(name, next_run_time=datetime.now(self._time))

    def start(self) -> None:
        """Begin; in the running event loop."""
        self._scheduler.start()

    def stop(self) -> None:
        """Run no more jobs, and cancel those that run."""
        self._scheduler.shutdown(wait=False)


class _Due(BaseTrigger):  # type: ignore[misc]  # no types there
    def __init__(self, wait: Wait) -> None:
        self._wait = wait

    def get_next_fire_time(self, previous: datetime | None, now: datetime) -> datetime:
        return now + self._wait(None if previous is None else now - previous)
