"""Rows that the database has rejected, remembered so that they hold up no others."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from reconciler.core.model import Outcome, RowId
from reconciler.postgres.rows.halving import Done

#: Rows remembered, at the most; beyond that, they are tried with the others once more.
MAX_ROWS = 100_000


class RuledOut:
    """The rows that were rejected the last time; of one process, for all of its passes."""

    def __init__(self) -> None:
        self._ids: set[RowId] = set()
        #: See `Halving`.
        self.words: dict[tuple[str, ...], str] = {}

    def apart(self, outcomes: Sequence[Outcome]) -> Iterator[tuple[Sequence[Outcome], bool]]:
        """The outcomes that nothing is known against (True), and then the others (False)."""
        if not self._ids:
            yield outcomes, True
            return
        known = [outcome.row.id in self._ids for outcome in outcomes]
        for hopeful in (True, False):
            yield [o for o, bad in zip(outcomes, known, strict=True) if bad is not hopeful], hopeful

    def note(self, ids: Sequence[RowId], done: Done) -> None:
        """Remember which of a batch's rows were rejected, and forget those that no longer are."""
        if not self._ids and not done.ruled_out:
            return
        untried = {ids[place] for place in done.untried}
        self._ids.difference_update(id_ for id_ in ids if id_ not in untried)
        if len(self._ids) > MAX_ROWS:
            self._ids.clear()
        self._ids.update(ids[place] for place in done.ruled_out)
