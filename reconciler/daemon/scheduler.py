"""APScheduler on a clock that cannot be set. No other module uses APScheduler.

Its own triggers use the host's clock. If that is set back by an hour, no job is due for an hour; if
it is set ahead by years, every missed run is computed before one starts.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from datetime import datetime, timedelta, tzinfo
from typing import TypeAlias

from apscheduler.schedulers.asyncio import AsyncIOScheduler
from apscheduler.triggers.base import BaseTrigger

from reconciler.host.steady_clock import steady

#: Maps the time since a job was last due (None at first) to the time until it is due.
Wait: TypeAlias = Callable[[timedelta | None], timedelta]


class SteadyTime(tzinfo):
    """The scheduler's time zone, where the time is an epoch plus the seconds of `elapsed`.

    APScheduler reads the time only by `datetime.now(timezone)`, for which Python passes the host's
    UTC time to the time zone. This one ignores it.
    """

    EPOCH = datetime(2000, 1, 1)  # noqa: DTZ001 - any date works

    def __init__(self, elapsed: Callable[[], float] = steady) -> None:
        self._elapsed = elapsed

    def fromutc(self, _: datetime) -> datetime:
        """The time now."""
        return (self.EPOCH + timedelta(seconds=self._elapsed())).replace(tzinfo=self)

    def utcoffset(self, _: datetime | None) -> timedelta:
        """Zero: its times are only compared with each other."""
        return timedelta()

    def dst(self, _: datetime | None) -> timedelta:
        """Zero."""
        return timedelta()

    def tzname(self, _: datetime | None) -> str:
        """A name to print."""
        return "steady"


class Scheduler:
    """Runs jobs in the event loop when they are due, one run of each at a time.

    A job that was due several times while it could not run runs once.
    """

    def __init__(self, elapsed: Callable[[], float] = steady) -> None:
        self._time = SteadyTime(elapsed)
        self._scheduler = AsyncIOScheduler(timezone=self._time)

    def add(self, name: str, job: Callable[[], Awaitable[None]], wait: Wait) -> None:
        """Run `job` whenever it is due. It must be `async`, or it would run in a thread."""
        # No grace time: misfires are judged by the host's clock.
        once_at_a_time = {"max_instances": 1, "coalesce": True, "misfire_grace_time": None}
        self._scheduler.add_job(job, _Due(wait), id=name, **once_at_a_time)

    def at_once(self, name: str) -> None:
        """Run this job now; its next run counts from here."""
        self._scheduler.modify_job(name, next_run_time=datetime.now(self._time))

    def start(self) -> None:
        """Start, in the running event loop."""
        self._scheduler.start()

    def stop(self) -> None:
        """Stop, and cancel running jobs."""
        self._scheduler.shutdown(wait=False)


class _Due(BaseTrigger):  # type: ignore[misc]  # no types there
    def __init__(self, wait: Wait) -> None:
        self._wait = wait

    def get_next_fire_time(self, previous: datetime | None, now: datetime) -> datetime:
        return now + self._wait(None if previous is None else now - previous)
