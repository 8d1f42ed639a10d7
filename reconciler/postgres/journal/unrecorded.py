"""Null objects for `RECONCILER_JOURNAL=off`: no history, no lease, no marks.

Passes stay safe: only the guarded write keeps them from overwriting anything. But other processes,
and later ones, know nothing about them.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from datetime import datetime, timedelta
from typing import Any

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncEngine

from reconciler.core.feed.saved_marks import SavedMarks
from reconciler.core.model import CloseStatus, Mode, RowId
from reconciler.core.ports import Heartbeat
from reconciler.core.report.pass_report import PassOutcome, PassReport, Report
from reconciler.core.report.request import PassRequest
from reconciler.core.report.sweep import Swept
from reconciler.host.steady_clock import steady
from reconciler.postgres.connection.engine import translated
from reconciler.postgres.connection.queries import fetch
from reconciler.postgres.journal.checkpoint import sweep_from_json, sweep_to_json


class NoHistory:
    """Knows the last good pass of this process only; see the port `History`."""

    def __init__(self, engine: AsyncEngine, clock: Callable[[], float] = steady) -> None:
        self._engine, self._clock = engine, clock
        self._last_good: tuple[float, timedelta, str] | None = None
        #: As it would be recorded: the type of the keys may change from pass to pass.
        self._swept: Any = None
        self._found_in: set[str] = set()

    async def begin(self, report: Report) -> Swept | None:  # noqa: ARG002
        """The sweep of the last pass of this process."""
        return sweep_from_json(self._swept)

    async def found_in(self, namespaces: Collection[str]) -> Collection[str]:
        """Those in which an earlier pass of this process found workflows."""
        return self._found_in.intersection(namespaces)

    async def checkpoint(self, report: PassReport) -> None:
        """Nothing is recorded."""

    async def written(self, pass_id: str) -> None:
        """None: only the pass itself counted what it wrote."""

    async def end(self, report: Report) -> None:
        """Remember what the pass found, and when a good pass over every row ended."""
        if isinstance(report, PassReport):
            self._found_in |= report.found_in
        if not isinstance(report, PassReport) or not Mode(report.request.mode).is_whole:
            return
        if report.outcome is not PassOutcome.ABORTED:
            duration = timedelta(seconds=report.duration_seconds)
            self._last_good = self._clock(), duration, report.pass_id
            self._swept = sweep_to_json(report.swept)

    async def heartbeat(self) -> Heartbeat | None:
        """The last good pass of this process; None if there was none yet.

        By the database's clock, as with a recorded history. Raises `DatabaseUnusable`.
        """
        now = await _database_time(self._engine)
        if self._last_good is None:
            return None
        ended_at, duration, pass_id = self._last_good
        age = timedelta(seconds=self._clock() - ended_at)
        return Heartbeat(now - age, duration, now, pass_id)

    async def unfinished(
        self, request: PassRequest, read_id: Callable[[Any], RowId]
    ) -> PassReport | None:
        """None: no progress is recorded."""

    async def resume(
        self, request: PassRequest, read_id: Callable[[Any], RowId]
    ) -> PassReport | None:
        """None, as above."""

    async def give_up(self, request: PassRequest) -> None:
        """Nothing can be resumed anyway."""


class NoMarks:
    """Knows the marks of this process only; see the port `Marks`."""

    def __init__(self, engine: AsyncEngine, clock: Callable[[], float] = steady) -> None:
        self._engine, self._clock = engine, clock
        self._saved: dict[str, tuple[float, Mapping[CloseStatus, datetime]]] = {}
        self._names: set[str] = set()

    async def namespaces(self) -> Collection[str]:
        """Those whose marks this process has saved."""
        return self._names

    async def load(self, namespace_id: str) -> SavedMarks | None:
        """The marks, as old by the database's clock as they are. Raises `DatabaseUnusable`."""
        saved_at, marks = self._saved.get(namespace_id, (0.0, {}))
        if not marks:
            return None
        now = await _database_time(self._engine)
        return SavedMarks(marks, now - timedelta(seconds=self._clock() - saved_at), now)

    async def save(
        self, namespace_id: str, name: str, marks: Mapping[CloseStatus, datetime]
    ) -> None:
        """Remember them."""
        self._saved[namespace_id] = self._clock(), dict(marks)
        self._names.add(name)


class NoLease:
    """A lease that every replica holds: they do the same work twice, without harm."""

    async def claim(self, duration: timedelta) -> int | None:  # noqa: ARG002
        """Always granted."""
        return 1

    async def release(self) -> None:
        """Nothing to release."""


async def _database_time(engine: AsyncEngine) -> datetime:
    with translated("read the database's clock"):
        ((now,),) = await fetch(engine, sa.select(sa.func.clock_timestamp()))
    found: datetime = now
    return found
