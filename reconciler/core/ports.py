"""What the pass needs from the outside, in the vocabulary of the core.

Ports are this small so that a fake stays below 80 lines. `postgres` implements `Store`, `History`
and `Lease`, `temporal` implements `Probe`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, Protocol

from reconciler.core.errors import Unusable
from reconciler.core.model import (
    ChainStart,
    Observation,
    Outcome,
    Rival,
    RowId,
    RunRow,
    Unknown,
    Verdict,
)
from reconciler.core.report import PassOutcome, PassReport, Report
from reconciler.core.request import PassRequest
from reconciler.core.sweep import Swept
from reconciler.core.tally import Tally
from reconciler.core.verdict import StatusValues


@dataclass(frozen=True, slots=True)
class Written:
    """What a guarded write did. A row in none of these was no longer running: a lost race."""

    #: Rows that now hold what was to be written.
    ids: frozenset[RowId]
    #: Rows that the database itself refused (a trigger, a constraint), with its words.
    refused: Mapping[RowId, str] = field(default_factory=dict)
    #: Rows that were not tried, because of the failure.
    untried: frozenset[RowId] = frozenset()
    #: Why nothing more could be written: to be raised once what was written has been counted.
    failure: Unusable | None = None


@dataclass(frozen=True, slots=True)
class Ending:
    """The end of a chain that is taken for that of a row without a run id."""

    row: RunRow
    start: ChainStart
    #: The last run of the chain.
    run_id: str


@dataclass(frozen=True, slots=True)
class Heartbeat:
    """The last pass over every row that came to its end, whichever process it was in."""

    finished_at: datetime
    duration: timedelta
    #: By the same clock, the database's.
    read_at: datetime
    pass_id: str


class Store(Protocol):
    """The application's table. Every method is a short transaction of its own."""

    async def last_running(self) -> RowId | None:
        """The highest id among the running rows, so that a pass cannot chase new ones for ever."""
        ...

    async def scan_running(self, after: RowId | None, until: RowId, limit: int) -> Sequence[RunRow]:
        """The next running rows by id: above `after`, up to and including `until`."""
        ...

    async def rivals(self, endings: Sequence[Ending]) -> Sequence[Sequence[Rival]] | Unknown:
        """The rivals of each row, with one statement for all of them; of every window of the table.

        `Unknown` if that takes too long. Raises `Unusable`.
        """
        ...

    async def finish_if_running(self, pass_id: str, outcomes: Sequence[Outcome]) -> Written:
        """Finish and journal those rows that are still running with the run id that was seen.

        Raises `Unusable`; once part of it has been committed, returns that, with the failure.
        """
        ...


class Probe(Protocol):
    """Temporal, asked about rows one by one, or roughly about many."""

    async def retention(self) -> timedelta:
        """How long Temporal keeps what has closed; asked first, it proves that it can be used.

        Raises `Unusable` if it cannot.
        """
        ...

    async def observe(self, row: RunRow) -> Observation:
        """What Temporal says about the row. What concerns only this row is `Unknown`.

        Raises `Unusable` if Temporal as a whole cannot be used.
        """
        ...

    async def screen(self, rows: Sequence[RunRow], saving: float = 1.0) -> Sequence[bool | None]:
        """Whether visibility shows the workflow of each row as open, asked about all at once.

        `saving`: the share of the rows that is expected not to be described because of it. Rows
        for which that would not save what it costs are not asked about.

        True only where that is the row's own chain of runs. None where visibility cannot tell, or
        could not be asked. It lags and may be wrong: good for leaving a row be for a while, never
        for a write. Raises `Unusable` if Temporal as a whole cannot be used.
        """
        ...

    def rpcs(self) -> Mapping[str, int]:
        """The calls made so far, by kind: describe, history, list."""
        ...


class History(Protocol):
    """The passes over one table and namespace: recorded, so that others see and resume them.

    A dry run is not recorded. Every method raises `Unusable`.
    """

    async def begin(self, report: Report) -> Swept | None:
        """Record that a pass begins; how far the last complete one has swept, if it is known."""
        ...

    async def checkpoint(self, report: PassReport) -> None:
        """Record how far a pass has come that can be resumed."""
        ...

    async def written(self, pass_id: str) -> Mapping[str, int] | None:
        """The rows a pass has written, by status; None if there is no journal to tell."""
        ...

    async def end(self, report: Report) -> None:
        """Record that a pass has ended, whatever its outcome."""
        ...

    async def heartbeat(self) -> Heartbeat | None:
        """The last good pass over every row; None if there was none yet."""
        ...

    async def unfinished(
        self, request: PassRequest, read_id: Callable[[Any], RowId]
    ) -> PassReport | None:
        """The last pass of this request that has not come to its end, as it stands.

        `read_id` makes a key of the table of what was recorded as JSON.
        """
        ...

    async def resume(
        self, request: PassRequest, read_id: Callable[[Any], RowId]
    ) -> PassReport | None:
        """Resume that pass: the process that had it before can no longer record anything."""
        ...

    async def give_up(self, request: PassRequest) -> None:
        """Keep passes of this request from being resumed."""
        ...


class ReportView(Protocol):
    """What observers see of any report: all of it, and nothing that they could change."""

    @property
    def pass_id(self) -> str: ...  # noqa: D102
    @property
    def request(self) -> PassRequest: ...  # noqa: D102
    @property
    def started_at(self) -> datetime: ...  # noqa: D102
    @property
    def duration_seconds(self) -> float: ...  # noqa: D102
    @property
    def error(self) -> str | None: ...  # noqa: D102
    @property
    def outcome(self) -> PassOutcome: ...  # noqa: D102
    @property
    def more_left(self) -> bool: ...  # noqa: D102
    def as_json(self, statuses: StatusValues) -> Mapping[str, Any]: ...  # noqa: D102


class PassView(ReportView, Protocol):
    """The same of a pass over rows. Its tally is a copy."""

    @property
    def tally(self) -> Tally: ...  # noqa: D102
    @property
    def to_recheck(self) -> int: ...  # noqa: D102
    @property
    def held_back(self) -> int: ...  # noqa: D102
    @property
    def rpcs(self) -> Mapping[str, int]: ...  # noqa: D102
    @property
    def disagreements(self) -> Mapping[str, int]: ...  # noqa: D102


class Observer:
    """Gets to know of passes: metrics, a progress bar. What it does not override is ignored.

    No protocol, because most observers listen to some of this only. None of them can change a
    report, and their order makes no difference. One that raises `Unusable` aborts the pass; the
    others hear of everything all the same.
    """

    async def on_start(self, report: PassView) -> None:
        """A pass begins, nothing is written yet."""

    async def on_written(self, outcomes: Sequence[Outcome]) -> None:
        """These outcomes have just been written; never called in a dry run."""

    async def on_page(self, report: PassView, verdicts: Sequence[Verdict]) -> None:
        """A page has been settled, in a dry run too: these verdicts, in the order of the rows.

        A second look at a page comes without verdicts.
        """

    async def on_pass(self, report: PassView) -> None:
        """A pass has ended, whatever its outcome."""


class Lease(Protocol):
    """The right to pass over a table, which one replica has at a time."""

    async def claim(self, duration: timedelta) -> int | None:
        """Take or keep it; its epoch, or None while another replica has it.

        The epoch is the same as before if nobody else has had it since. Raises `Unusable`.
        """
        ...

    async def release(self) -> None:
        """Give it up. Raises `Unusable`."""
        ...
