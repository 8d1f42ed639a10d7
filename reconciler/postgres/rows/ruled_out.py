"""Remembers rows that the database rejected, so that they do not delay others."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from reconciler.core.model import Outcome, RowId
from reconciler.postgres.rows.batch import Done

#: The most rows remembered; beyond that, all are forgotten and tried with the others again.
MAX_ROWS = 100_000


class RuledOut:
    """The rows that were rejected the last time, for all passes of one process."""

    def __init__(self) -> None:
        self._ids: set[RowId] = set()
        #: See `Halving`.
        self.words: dict[tuple[str, ...], str] = {}

    def apart(self, outcomes: Sequence[Outcome]) -> Iterator[tuple[Sequence[Outcome], bool]]:
        """The outcomes of rows that were not rejected (True), then the others (False)."""
        if not self._ids:
            yield outcomes, True
            return
        known = [outcome.row.id in self._ids for outcome in outcomes]
        for hopeful in (True, False):
            yield [o for o, bad in zip(outcomes, known, strict=True) if bad is not hopeful], hopeful

    def note(self, ids: Sequence[RowId], done: Done) -> None:
        """Remember which rows of a batch were rejected, and forget those that were written."""
        if not self._ids and not done.ruled_out:
            return
        untried = {ids[place] for place in done.untried}
        self._ids.difference_update(id_ for id_ in ids if id_ not in untried)
        if len(self._ids) > MAX_ROWS:
            self._ids.clear()
        self._ids.update(ids[place] for place in done.ruled_out)
