"""What a pass needs from the outside, in the vocabulary of the core.

Ports are small: a fake stays below 80 lines. `postgres` implements `Store`, `History`, `Marks` and
`Lease`, `temporal` implements `Probe` and `Closings`.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, Protocol

from reconciler.core.errors import Unusable
from reconciler.core.model import (
    Observation,
    Outcome,
    Rival,
    RowId,
    RunRow,
    Unknown,
    Use,
)
from reconciler.core.own_use import Chain
from reconciler.core.report.pass_report import PassReport, Report
from reconciler.core.report.request import PassRequest
from reconciler.core.report.sweep import Rest, Swept


@dataclass(frozen=True, slots=True)
class Written:
    """What a guarded write did. A row in none of these was no longer running: a lost race."""

    #: Rows that now have the values that were to be written.
    ids: frozenset[RowId]
    #: Rows that the database itself refused (a trigger, a constraint), with its error text.
    refused: Mapping[RowId, str] = field(default_factory=dict)
    #: Rows that were not tried, because of the failure.
    untried: frozenset[RowId] = frozenset()
    #: Why nothing more could be written: raised once the rest of this has been counted.
    failure: Unusable | None = None


@dataclass(frozen=True, slots=True)
class Ending:
    """The end of a use of the workflow id that may be that of a row without a run id."""

    row: RunRow
    chain: Chain


@dataclass(frozen=True, slots=True)
class Reach:
    """Some of the running rows, by id: how many there are, and where they end."""

    rows: int
    #: The id of the last one; None if there are none.
    last: RowId | None


@dataclass(frozen=True, slots=True)
class Heartbeat:
    """The last pass of `once` or `run` that completed, in any process."""

    finished_at: datetime
    duration: timedelta
    #: Now, by the clock of `finished_at`, the database's.
    read_at: datetime
    pass_id: str


class Store(Protocol):
    """The application's table. Every method is a short transaction of its own."""

    async def last_running(self) -> RowId | None:
        """The highest id among the running rows: a pass ends there, and does not chase new rows."""
        ...

    async def scan_running(self, after: RowId | None, until: RowId, limit: int) -> Sequence[RunRow]:
        """The first running rows with `after` < id <= `until`, by id, at most `limit`."""
        ...

    async def reach(self, after: RowId | None, until: RowId, rows: int) -> Reach:
        """How far the first `rows` running rows with `after` < id <= `until` reach, by id."""
        ...

    async def read_rest(self, recorded: Rest) -> Rest | None:
        """The keys of a recorded sweep, as the table has them; None if it cannot have them."""
        ...

    async def rivals(self, endings: Sequence[Ending]) -> Sequence[Sequence[Rival]] | Unknown:
        """The other rows with a claim to each row's use, in any window, read with one statement.

        `Unknown` if that takes too long. Raises `Unusable`.
        """
        ...

    async def finish_if_running(self, pass_id: str, outcomes: Sequence[Outcome]) -> Written:
        """Finish and journal the rows that are still running, and still have the run id seen.

        Raises `Unusable`, unless part of it has been committed: then returns that and the failure.
        """
        ...


class Observing(Protocol):
    """Asks Temporal about rows."""

    async def observe(self, row: RunRow) -> Observation:
        """What Temporal says about the row; `Unknown` for a failure that concerns only this row.

        `Unasked`, without a call, if the row has no workflow id.

        Raises `Unusable` if Temporal as a whole cannot be used.
        """
        ...


class Probe(Observing, Protocol):
    """Temporal: describes rows one by one, or screens many with one call."""

    async def retention(self) -> timedelta:
        """How long Temporal keeps closed workflows. Asked first, to show that it can be used.

        Raises `Unusable` if it cannot.
        """
        ...

    def together(self, rows: Sequence[RunRow]) -> Observing:
        """For rows that are asked about at the same time: what one answer says is asked once."""
        ...

    async def screen(self, rows: Sequence[RunRow], saving: float = 1.0) -> Sequence[bool | None]:
        """Whether visibility shows the workflow of each row as open.

        `saving`: the expected share of rows that need no description because of it. Rows for which
        the call would cost more than it saves are not asked about.

        True only for the row's own chain of runs. None if visibility does not know, or was not
        asked. It lags and may be wrong: a reason to skip a row for a while, never for a write.
        Raises `Unusable` if Temporal as a whole cannot be used.
        """
        ...

    async def other_uses(self, endings: Sequence[Ending]) -> Sequence[Sequence[Use] | Unknown]:
        """Other uses of these rows' workflow ids since the rows were created, by visibility.

        One call for all if it can be, else about one per row. `Unknown` if it cannot be read, or
        does not show that end yet.
        """
        ...

    def namespace_id(self, row: RunRow) -> str:
        """Temporal's id of the namespace in which the row was observed."""
        ...

    def rpcs(self) -> Mapping[str, int]:
        """The calls made so far, by kind: describe, history, list, queue."""
        ...


class Recording(Protocol):
    """Where a pass records that it begins, how far it is, and how it ends.

    Dry runs are not recorded. Every method raises `Unusable`.
    """

    async def begin(self, report: Report) -> Swept | None:
        """Record that a pass begins; returns the sweep of the last complete one, if known.

        Its keys are as recorded, see `Store.read_rest`.
        """
        ...

    async def found_in(self, namespaces: Collection[str]) -> Collection[str]:
        """Of namespaces, by id, those in which an earlier pass found the workflow of a row."""
        ...

    async def checkpoint(self, report: PassReport) -> None:
        """Record the progress of a pass that can be resumed."""
        ...

    async def written(self, pass_id: str) -> Mapping[str, int] | None:
        """The rows a pass has written, by status; None without a journal."""
        ...

    async def end(self, report: Report) -> None:
        """Record that a pass has ended, whatever its outcome."""
        ...


class History(Recording, Protocol):
    """The recorded passes over one table and namespace, for other processes to see and resume."""

    async def heartbeat(self) -> Heartbeat | None:
        """The last good pass of `once` or `run`; None if there is none yet."""
        ...

    async def unfinished(
        self, request: PassRequest, read_id: Callable[[Any], RowId]
    ) -> PassReport | None:
        """The last pass with this request if it has not completed, with its progress.

        `read_id` makes a key of the table of what was recorded as JSON.
        """
        ...

    async def resume(
        self, request: PassRequest, read_id: Callable[[Any], RowId]
    ) -> PassReport | None:
        """Resume that pass: the process that ran it before can no longer record anything."""
        ...

    async def give_up(self, request: PassRequest) -> None:
        """Close unfinished passes with this request, so that they cannot be resumed."""
        ...


class Lease(Protocol):
    """The right to run passes over a table, which one replica holds at a time."""

    async def claim(self, duration: timedelta) -> int | None:
        """Take or renew the lease; returns its epoch, or None while another replica holds it.

        The epoch is the same as before if nobody else has held it since. Raises `Unusable`.
        """
        ...

    async def release(self) -> None:
        """Give up the lease. Raises `Unusable`."""
        ...
