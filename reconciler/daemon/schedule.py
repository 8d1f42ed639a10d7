"""When passes are due, and when those that failed are tried again. No clock, no scheduler."""

from __future__ import annotations

import random
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import islice
from typing import TypeAlias

from cronsim import CronSim, CronSimError

from reconciler.core.errors import ConfigurationError
from reconciler.core.text import duration

#: Seconds before the first new try, and at most before any; each is varied by half.
FIRST_RETRY, LAST_RETRY = 5.0, 60.0

#: The schedule is varied by a tenth of the interval, by this at the most.
MAX_JITTER = timedelta(seconds=1)

_CRON_FIELDS = 5
#: A due time this close behind the last one is the same, by a clock that has been corrected since.
_SAME = timedelta(seconds=2)
_ANY_TIME = datetime(2000, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Every:
    """From the start of one pass to the next."""

    interval: timedelta

    def __str__(self) -> str:
        return f"every {duration(self.interval)}"

    def due_after(self, start: datetime, count: int) -> datetime:
        """The time of the `count`-th pass that is due after `start`."""
        return start + count * self.interval

    def wait(self, now: datetime, since: timedelta | None) -> timedelta:  # noqa: ARG002
        """From now until a pass is due, if one was last due `since` ago.

        What was missed is not made up for: then it is an interval from now.
        """
        if since is None or since >= self.interval:
            return self.interval
        return self.interval - since


@dataclass(frozen=True, slots=True)
class Cron:
    """As cron does it: weekdays count from Sunday, and a day matches by date or by weekday."""

    expression: str

    def __str__(self) -> str:
        return f"cron {self.expression} (UTC)"

    def due_after(self, start: datetime, count: int) -> datetime:
        """The time of the `count`-th pass that is due after `start`, in its time zone."""
        return next(islice(CronSim(self.expression, start), count - 1, None))

    def wait(self, now: datetime, since: timedelta | None) -> timedelta:
        """From `now`, which is UTC, until a pass is due, if one was last due `since` ago."""
        after = now if since is None else max(now, now - since + _SAME)
        return self.due_after(after, 1) - now


Schedule: TypeAlias = Every | Cron


def parse_cron(expression: str) -> Cron:
    """Five fields. Raises `ConfigurationError` if they make no sense, or never come about."""
    if len(expression.split()) != _CRON_FIELDS:
        raise ConfigurationError(
            f"--cron {expression!r}: it takes minute, hour, day of month, month and weekday"
        )
    cron = Cron(expression)
    try:
        cron.due_after(_ANY_TIME, 1)
    except CronSimError as error:
        reason = str(error)[:1].lower() + str(error)[1:]
        raise ConfigurationError(f"--cron {expression!r}: {reason}") from None
    except StopIteration:
        raise ConfigurationError(f"--cron {expression!r}: this day never comes") from None
    return cron


def jitter(schedule: Schedule) -> timedelta:
    """How late a pass comes, so that loops that started together do not stay in step."""
    if isinstance(schedule, Cron):
        return timedelta()
    return min(schedule.interval / 10, MAX_JITTER) * random.random()  # noqa: S311 - as below


def retry_delay(failures: int) -> float:
    """Seconds until the next try, after so many in a row that failed: twice as long each time."""
    grown: float = FIRST_RETRY * 2 ** min(failures - 1, 10)
    return min(grown, LAST_RETRY) * random.uniform(0.5, 1.5)  # noqa: S311 - only to spread replicas
