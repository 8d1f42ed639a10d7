"""When passes are due, and when failed ones are retried. Pure: no clock, no scheduler."""

from __future__ import annotations

import random
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import islice
from typing import TypeAlias

from cronsim import CronSim, CronSimError

from reconciler.core.errors import ConfigurationError
from reconciler.core.text import duration

#: Seconds before the first retry, and at most before any; both vary by half.
FIRST_RETRY, LAST_RETRY = 5.0, 60.0

#: Seconds from the start of one target to that of the next, and of the first to the last at most.
#: Their polls and claims come every five seconds, so these stay apart.
APART, ALL_APART = 0.25, 5.0

#: The most that a pass is delayed at random; otherwise a tenth of the interval.
MAX_JITTER = timedelta(seconds=1)

_CRON_FIELDS = 5
#: Two due times this close are the same one, before and after a correction of the clock.
_SAME = timedelta(seconds=2)
_ANY_TIME = datetime(2000, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Every:
    """A fixed interval between the starts of passes."""

    interval: timedelta

    def __str__(self) -> str:
        return f"every {duration(self.interval)}"

    def due_after(self, start: datetime, count: int) -> datetime:
        """The time of the `count`-th pass that is due after `start`."""
        return start + count * self.interval

    def wait(self, now: datetime, since: timedelta | None) -> timedelta:  # noqa: ARG002
        """The time until a pass is due, if the last one was due `since` ago.

        Missed passes are not made up for: after one, the next is due an interval from now.
        """
        if since is None or since >= self.interval:
            return self.interval
        return self.interval - since


@dataclass(frozen=True, slots=True)
class Cron:
    """A cron expression. Weekdays count from Sunday; a day matches by date or by weekday."""

    expression: str

    def __str__(self) -> str:
        return f"cron {self.expression} (UTC)"

    def due_after(self, start: datetime, count: int) -> datetime:
        """The time of the `count`-th pass that is due after `start`, in its time zone."""
        return next(islice(CronSim(self.expression, start), count - 1, None))

    def wait(self, now: datetime, since: timedelta | None) -> timedelta:
        """The time from `now` (UTC) until a pass is due, if the last was due `since` ago."""
        after = now if since is None else max(now, now - since + _SAME)
        return self.due_after(after, 1) - now


Schedule: TypeAlias = Every | Cron


def parse_cron(expression: str) -> Cron:
    """Parse five fields. Raises `ConfigurationError` if they are invalid or never match."""
    if len(expression.split()) != _CRON_FIELDS:
        raise ConfigurationError(
            f"--cron {expression!r}: not five fields",
            "give minute, hour, day of month, month and weekday",
        )
    cron = Cron(expression)
    try:
        cron.due_after(_ANY_TIME, 1)
    except CronSimError as error:
        reason = str(error)[:1].lower() + str(error)[1:]
        raise ConfigurationError(f"--cron {expression!r}: {reason}") from None
    except StopIteration:
        raise ConfigurationError(f"--cron {expression!r}: no such day exists") from None
    return cron


def jitter(schedule: Schedule, share: float = 0.0) -> timedelta:
    """A random delay, so that loops that were started together do not stay in step.

    With a cron schedule, a fixed one. `share`: see `ahead`.
    """
    if isinstance(schedule, Cron):
        return timedelta(seconds=ALL_APART * share)
    return min(schedule.interval / 10, MAX_JITTER) * random.random()  # noqa: S311 - no secret


def ahead(schedule: Schedule, share: float) -> timedelta:
    """How much sooner than others the second pass of a target comes.

    `share`: of the targets of this process, those before it.
    """
    return schedule.interval * share if isinstance(schedule, Every) else timedelta()


def lag(share: float, count: int) -> float:
    """Seconds from the start of the first of `count` targets to that of another."""
    return share * min(count * APART, ALL_APART)


def retry_delay(failures: int) -> float:
    """Seconds until the next attempt, after N failures in a row: doubled each time."""
    grown: float = FIRST_RETRY * 2 ** min(failures - 1, 10)
    return min(grown, LAST_RETRY) * random.uniform(0.5, 1.5)  # noqa: S311 - no secret


def retry_unfit() -> float:
    """Seconds until a target is tried again that a server rejects: somebody may cure that."""
    return LAST_RETRY * random.uniform(0.5, 1.5)  # noqa: S311 - no secret
