"""What the pass needs from the outside, in the vocabulary of the core.

Ports are this small so that a fake stays below 80 lines. `postgres` implements `Store`, `Lease`
and `Observer`, `metrics` implements `Observer`, `temporal` implements `Probe`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Protocol

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
from reconciler.core.report import PassReport


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


class Observer:
    """Whoever wants to know about passes: history, metrics. What it does not override is silence.

    No protocol, because most observers listen to some of this only.
    """

    async def on_start(self, report: PassReport) -> None:
        """A pass begins, nothing is written yet."""

    async def on_written(self, outcomes: Sequence[Outcome]) -> None:
        """These outcomes have just been written; never called in a dry run."""

    async def on_page(self, report: PassReport, verdicts: Sequence[Verdict]) -> None:
        """A page has been settled: these verdicts, in the order of the rows; told in a dry run too.

        `report.progress` is where another process would go on. A second look at a page comes
        without verdicts.
        """

    async def on_pass(self, report: PassReport) -> None:
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
