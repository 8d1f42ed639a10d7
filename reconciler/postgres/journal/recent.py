"""What happened lately, for the page: each question is one statement over a bounded range."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, cast

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncEngine

from reconciler.core.missed_writes import (
    FOUND_BY,
    MAIN_PATH_TIME,
    REPORTABLE,
    UNREPORTABLE,
)
from reconciler.core.model import Mode
from reconciler.core.report.pass_report import STOPPED, PassOutcome
from reconciler.core.text import or_null
from reconciler.postgres.connection.dialect import PoolerSafeDialect
from reconciler.postgres.connection.encoding import as_bytes, shown
from reconciler.postgres.connection.engine import translated
from reconciler.postgres.connection.queries import QUICK, fetch
from reconciler.postgres.journal.lease import held_leases
from reconciler.postgres.journal.undo import EVIDENCE
from reconciler.postgres.schema import (
    changes,
    is_good,
    is_not_of_feed,
    is_over,
    is_whole,
    made_by,
    passes,
)

#: Passes among which the last ones over the table are found.
AMONG = 1_000


@dataclass(frozen=True, slots=True, kw_only=True)
class LosingType:
    """A workflow type whose rows `run` had to finish."""

    #: Empty if it is not known.
    workflow_type: str
    #: Rows that the main path should have written, as in `reconciler_missed_writes`.
    missed: int
    #: Rows that no workflow code could write: the workflow was terminated, or timed out.
    cut_off: int
    #: From the close of the workflow to the write of the row, of the missed ones.
    drift_p50: timedelta | None
    drift_max: timedelta | None
    newest_at: datetime


@dataclass(frozen=True, slots=True)
class Losing:
    """The types that lose their last write, and what else was repaired in the same time."""

    #: Those that lose most.
    types: tuple[LosingType, ...]
    #: How many types there are.
    all_types: int
    #: Rows that no type is counted for: repaired by `once` or `backfill`, before the main path
    #: had its time, or unknown to Temporal.
    others: int


@dataclass(frozen=True, slots=True)
class FailedPass:
    """A pass over every row that was aborted, not stopped."""

    at: datetime
    error: str


class Recent:
    """The journal and the history of one configuration. All methods raise `DatabaseUnusable`."""

    def __init__(self, engine: AsyncEngine, scope: str, namespace: str) -> None:
        """`scope` and `namespace`: as passes and leases have them."""
        self._engine, self._scope, self._namespace = engine, scope, namespace

    async def repaired(self, since: datetime) -> Sequence[tuple[datetime, str, int]]:
        """How many rows passes finished since then, by hour (of UTC) and status value."""
        hour = sa.func.date_trunc(
            sa.literal_column("'hour'"),
            sa.func.timezone(sa.literal_column("'UTC'"), changes.c.changed_at),
        ).label("hour")
        query = (
            sa.select(hour, as_bytes(changes.c.new_status), sa.func.count())
            .where(*self._of_passes(since))
            .group_by(hour, changes.c.new_status)
        )
        return [
            (at.replace(tzinfo=UTC), or_null(status and self._shown(status)), count)
            for at, status, count in await self._read(query)
        ]

    async def losing(self, since: datetime, limit: int) -> Losing:
        """The workflow types that most often missed their last write since then."""
        of_run = changes.c.found_by.in_(list(map(str, FOUND_BY)))
        drift = changes.c.changed_at - changes.c.close_time
        quick = sa.and_(changes.c.found_by == Mode.FEED.value, drift < MAIN_PATH_TIME)
        is_missed = sa.and_(
            of_run,
            changes.c.temporal_status.in_(sorted(REPORTABLE)),
            sa.func.coalesce(sa.not_(quick), sa.true()),
        )
        cut_off = sa.and_(of_run, changes.c.temporal_status.in_(sorted(UNREPORTABLE)))
        is_lost = sa.or_(is_missed, cut_off)
        rows, lost = sa.func.count(), sa.func.count().filter(is_lost)
        missed = sa.func.count().filter(is_missed).label("missed")
        half = sa.func.percentile_disc(0.5).within_group(drift).filter(is_missed)
        query = (
            sa.select(
                as_bytes(changes.c.workflow_type).label("workflow_type"),
                missed,
                sa.func.count().filter(cut_off).label("cut_off"),
                half.label("drift_p50"),
                sa.func.max(drift).filter(is_missed).label("drift_max"),
                sa.func.max(changes.c.changed_at).filter(is_lost).label("newest_at"),
                # Of all types, before the limit applies.
                sa.cast(sa.func.sum(sa.cast(lost > 0, sa.Integer)).over(), sa.Integer),
                sa.cast(sa.func.sum(rows - lost).over(), sa.BigInteger),
            )
            .where(*self._of_passes(since))
            .group_by(changes.c.workflow_type)
            .order_by(missed.desc(), lost.desc(), changes.c.workflow_type)
            .limit(limit)
        )
        found = await self._read(query)
        types = tuple(self._losing_type(*each[:-2]) for each in found if each.newest_at)
        return Losing(types, *(found[0][-2:] if found else (0, 0)))

    def _losing_type(self, workflow_type: bytes | None, *rest: Any) -> LosingType:
        names = "missed", "cut_off", "drift_p50", "drift_max", "newest_at"
        values = dict(zip(names, rest, strict=True))
        return LosingType(workflow_type=self._shown(workflow_type), **values)

    async def last_began(self) -> datetime | None:
        """When the last pass over every row began, if it was good or is among the newest passes."""
        newest = self._newest_passes()
        last = sa.select(sa.func.max(newest.c.started_at)).where(*self._over_table(newest))
        # By its own index: those of another table may come far more often.
        good = (
            sa.select(passes.c.started_at)
            .where(*self._over_table(passes), is_good(passes.c.outcome))
            .order_by(passes.c.finished_at.desc())
            .limit(1)
        )
        either = sa.func.greatest(last.scalar_subquery(), good.scalar_subquery())
        ((began,),) = await self._read(sa.select(either))
        return cast("datetime | None", began)

    async def last_failed(self) -> FailedPass | None:
        """The last pass over every row that failed, if it is among the newest passes."""
        newest = self._newest_passes()
        query = (
            sa.select(newest.c.finished_at, newest.c.error)
            .where(
                *self._over_table(newest),
                newest.c.outcome == PassOutcome.ABORTED.value,
                newest.c.error != STOPPED,
            )
            .order_by(newest.c.finished_at.desc())
            .limit(1)
        )
        found = await self._read(query)
        return FailedPass(*found[0]) if found else None

    async def holder(self) -> str | None:
        """The process that holds the lease of the loop."""
        held = await held_leases(self._engine)
        ours = (each for each in held if each.namespace == self._namespace)
        return next((each.holder for each in ours if each.kind(self._scope) == ""), None)

    def _of_passes(self, since: datetime) -> list[sa.ColumnElement[bool]]:
        """Changes since then by our passes, other than an undo."""
        return [
            changes.c.changed_at >= since,
            made_by(is_over(self._scope, self._namespace)),
            changes.c.temporal_status != EVIDENCE,
        ]

    @staticmethod
    def _newest_passes() -> sa.Subquery:
        of_others = sa.select(passes).where(is_not_of_feed(passes.c.mode))
        return of_others.order_by(passes.c.started_at.desc()).limit(AMONG).subquery()

    def _over_table(self, newest: sa.FromClause) -> list[sa.ColumnElement[bool]]:
        same = newest.c.table_name == self._scope, newest.c.namespace == self._namespace
        return [*same, is_whole(newest.c.mode)]

    def _shown(self, text: bytes | None) -> str:
        return shown(text, cast("PoolerSafeDialect", self._engine.dialect).codec)

    async def _read(self, query: sa.Select[Any]) -> Sequence[Any]:
        with translated("read the journal"):
            return await fetch(self._engine, query, milliseconds=QUICK)
