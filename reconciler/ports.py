"""What the pass needs from the outside, in the vocabulary of the core.

Ports are this small so that a fake stays below 80 lines. `postgres` implements `Store` and
`Observer`, `temporal` implements `Probe`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from reconciler.core.model import Observation, Outcome, RowId, RunRow
from reconciler.core.report import PassReport


@dataclass(frozen=True, slots=True)
class Written:
    """What a guarded write did. A row in neither set was no longer running: a lost race."""

    ids: frozenset[RowId]
    #: Rows that the database itself refused (a trigger, a constraint), with its words.
    refused: Mapping[RowId, str] = field(default_factory=dict)


class Store(Protocol):
    """The application's table. Every method is a short transaction of its own."""

    async def last_running(self) -> RowId | None:
        """The highest id among the running rows, so that a pass cannot chase new ones for ever."""
        ...

    async def scan_running(self, after: RowId | None, until: RowId, limit: int) -> Sequence[RunRow]:
        """The next running rows by id: above `after`, up to and including `until`."""
        ...

    async def finish_if_running(self, pass_id: str, outcomes: Sequence[Outcome]) -> Written:
        """Finish and journal those rows that are still running with the run id that was seen."""
        ...


class Probe(Protocol):
    """Temporal, asked about one row at a time."""

    async def observe(self, row: RunRow) -> Observation:
        """What Temporal says about the row. What concerns only this row is `Unknown`.

        Raises `Unusable` if Temporal as a whole cannot be used.
        """
        ...

    def rpcs(self) -> Mapping[str, int]:
        """The calls made so far, by kind: describe, history, list."""
        ...


class Observer(Protocol):
    """Whoever wants to know about passes: history, logs, metrics."""

    async def on_start(self, report: PassReport) -> None:
        """A pass begins, nothing is written yet."""
        ...

    async def on_pass(self, report: PassReport) -> None:
        """A pass has ended, whatever its outcome."""
        ...
