"""The parts of the page that are read from the database: one bounded statement each, kept."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, TypeVar

from reconciler.app.app import App
from reconciler.app.overview.hours import Hours, first_hour
from reconciler.app.overview.kept import CURRENT, Kept
from reconciler.app.overview.model import AtRisk, DatedError, Repaired, Stuck
from reconciler.core.policy import StatusValues
from reconciler.postgres.connection.queries import QUICK
from reconciler.postgres.journal.reader import JournalReader
from reconciler.postgres.journal.recent import FailedPass, Losing, Recent
from reconciler.postgres.journal.stuck.reader import StuckReader

#: Rows or groups of each list.
LIMIT = 20
#: Statements of the page at the same time: the passes need connections too.
AT_ONCE = 2

_T = TypeVar("_T")


@dataclass(frozen=True, slots=True, kw_only=True)
class PassesOfAll:
    """What the history knows of the passes over every row, in any process."""

    #: The process that holds the lease; None if nobody does.
    holder: str | None
    last_began: datetime | None
    last_failed: FailedPass | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """The parts as they are known now; None: never read."""

    passes: PassesOfAll | None
    repaired: Repaired | None
    losing: Losing | None
    stuck: Stuck | None
    at_risk: AtRisk | None
    #: What could not be read now.
    errors: tuple[DatedError, ...]
    #: When the oldest of these was read before that; None if all could be read.
    as_of: datetime | None


class Parts:
    """Each part, or its last known state, for one app with a journal."""

    def __init__(self, app: App) -> None:
        self._app = app
        self._few = asyncio.Semaphore(AT_ONCE)
        table = app.table
        self._over = table.scope, app.scope_namespace
        self._recent = Recent(app.engine, *self._over)
        self._journal = JournalReader(app.engine, QUICK)
        self._hours = Hours(self._recent.repaired)
        self._stuck = StuckReader(app.engine, table, app.scope_namespace, QUICK)
        self._passes = Kept(self._a_few(self._read_passes), longest=CURRENT)
        self._kept: dict[str, Kept[Any]] = {
            "the passes": self._passes,
            "what was repaired": Kept(self._a_few(self._read_repaired)),
            "which types lose their last write": Kept(self._a_few(self._read_losing)),
            "what is stuck": Kept(self._a_few(self._read_stuck)),
            "what is about to be lost": Kept(self._a_few(self._read_at_risk)),
        }

    async def read(self, *, patient: bool = False) -> Found:
        """All of them; waits for none longer than a view may. `patient`: see `Kept.get`."""
        passes, repaired, losing, stuck, at_risk = await asyncio.gather(
            *(kept.get(patient=patient) for kept in self._kept.values())
        )
        return Found(
            passes=passes,
            repaired=repaired,
            losing=losing,
            stuck=stuck,
            at_risk=at_risk,
            errors=tuple(self._errors()),
            as_of=self._as_of(),
        )

    def expire_holder(self) -> None:
        """At the next view, read who holds the lease: that has changed."""
        self._passes.expire()

    def retry(self) -> None:
        """Read at the next view what could not be read: the database answers again."""
        for kept in self._kept.values():
            kept.retry()

    def _errors(self) -> Iterator[DatedError]:
        now = self._app.clock.now()
        for what, kept in self._kept.items():
            if kept.error is not None:
                yield DatedError(now - timedelta(seconds=kept.error_age), what, kept.error)

    def _as_of(self) -> datetime | None:
        old = [each.age for each in self._kept.values() if each.error and each.value is not None]
        return self._app.clock.now() - timedelta(seconds=max(old)) if old else None

    def _a_few(self, read: Callable[[], Awaitable[_T]]) -> Callable[[], Awaitable[_T]]:
        async def ask() -> _T:
            async with self._few:
                return await read()

        return ask

    async def _read_passes(self) -> PassesOfAll:
        return PassesOfAll(
            holder=await self._recent.holder(),
            last_began=await self._recent.last_began(),
            last_failed=await self._recent.last_failed(),
        )

    async def _read_repaired(self) -> Repaired:
        hours = await self._hours.up_to(self._app.clock.now())
        seen = {status for hour in hours for status in hour.rows}
        total = sum(sum(hour.rows.values()) for hour in hours)
        newest = await self._journal.newest(*self._over, LIMIT)
        if len(newest) < min(total, LIMIT):
            # Those of another table have come after them.
            since = first_hour(self._app.clock.now())
            newest = await self._journal.newest(*self._over, LIMIT, since)
        return Repaired(
            hours=hours,
            statuses=in_order(seen, self._app.policy.statuses),
            total=total,
            newest=tuple(newest),
        )

    async def _read_losing(self) -> Losing:
        # The hours of the chart: the two must add up.
        return await self._recent.losing(first_hour(self._app.clock.now()), LIMIT)

    async def _read_stuck(self) -> Stuck:
        groups = await self._stuck.groups(limit=LIMIT)
        beat = await self._app.history.heartbeat()
        return Stuck(
            groups=tuple(groups.largest),
            rows=groups.rows,
            groups_left_out=groups.groups - len(groups.largest),
            checked_at=None if beat is None else beat.finished_at,
            judged_every=self._app.settings.full_sweep_interval,
        )

    async def _read_at_risk(self) -> AtRisk:
        return AtRisk(
            rows=tuple(await self._stuck.at_risk(LIMIT)),
            counts=await self._stuck.counts_at_risk(),
            retention=self._app.retention,
        )


def in_order(statuses: set[str], values: StatusValues) -> tuple[str, ...]:
    """Those of the settings first, in their order, then others that the journal has.

    All of the settings, so that the place of each, and its colour, does not depend on the others.
    """
    return (*values.ends, *sorted(statuses.difference(values.ends)))
