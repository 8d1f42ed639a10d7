"""Writes what can be written of a batch, whatever the database rejects of it.

A batch that fails is halved, and its halves are, down to the row that is rejected: one row among
500 costs about twenty statements. What takes too long is halved too, and the smaller size is kept.

A rule that rejects everything must not cost a statement per row. So the rest of a batch is given up
after `PATIENCE` failed statements in a row. Once that has happened in a pass, and for rows that
were rejected in an earlier one, it is given up after twice as many as it takes to get down to a
single row. Which rows are tried is random, so that another pass tries others.
"""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import Awaitable, Callable, Sequence

import structlog

from reconciler.core.errors import Unusable
from reconciler.postgres.connection.engine import translated
from reconciler.postgres.rows.batch import Batch, Done, Item, Piece, Rule
from reconciler.postgres.rows.guarded import Attempt, Unanswered
from reconciler.postgres.rows.rejection import (
    Concern,
    concern_of,
    holds_rows_for,
    is_of_resources,
    rule_of,
    said,
    words_of,
)

#: Failed statements in a row, without one that was carried out: each row of 50 can be tried.
PATIENCE = 100
#: What one that took too long counts as: it has cost seconds. So does one that cost a connection.
SLOW = 4
#: Seconds between looks at rows that a lost statement may still have locked.
LOOKS_EACH = 0.2

log = structlog.get_logger(__name__)


class Halving:
    """Writes the batches of one pass, and learns from what the database rejects."""

    def __init__(self, doing: str, words: dict[Rule, str] | None = None) -> None:
        """`words` are those that each rule was first reported with.

        Kept by the caller, they are the same in each pass.
        """
        self._doing, self._words = doing, {} if words is None else words
        self._size, self._gave_up, self._logged_bug = sys.maxsize, False, False

    async def write(
        self,
        attempt: Callable[[Sequence[Item]], Awaitable[Attempt]],
        items: Sequence[Item],
        *,
        hopeful: bool = True,
    ) -> Done:
        """Write a batch; `hopeful` unless all of its rows were rejected before.

        `attempt` writes items with one statement, and commits them unless it raises or one of them
        is spoiled. Without items it shows whether the statement works at all.
        """
        patience = PATIENCE if hopeful and not self._gave_up else 2 * len(items).bit_length()
        batch = Batch(attempt, items, patience, hopeful)
        while batch.pieces:
            piece = batch.next()
            if len(piece.places) > self._size:
                batch.pieces += piece.cut(self._size)
            else:
                await self._try(batch, piece)
        self._gave_up = self._gave_up or (hopeful and batch.is_hopeless)
        return batch.done

    async def _try(self, batch: Batch[Item], piece: Piece) -> None:
        try:
            attempt = await batch.attempt(batch.of(piece))
        except Unanswered as unanswered:
            batch.pieces.append(piece)
            self._end(batch, said(unanswered.error))
        except Exception as error:  # noqa: BLE001 - it is judged, and kept
            await self._rejected(batch, piece, said(error))
        else:
            await self._carried_out(batch, piece, attempt)

    async def _carried_out(self, batch: Batch[Item], piece: Piece, attempt: Attempt) -> None:
        if not attempt.spoiled:
            batch.add_written(piece, attempt)
            locked = batch.may_be_locked(piece, attempt)
            if locked:
                await asyncio.sleep(LOOKS_EACH)
                batch.pieces.append(Piece(locked, piece.size_before))
            if attempt.written or not locked:
                batch.failures = 0
            return
        spoiled = piece.by_place(attempt.spoiled)
        batch.done.refused |= spoiled
        batch.done.ruled_out |= spoiled.keys()
        if others := [place for place in piece.places if place not in spoiled]:
            batch.pieces.append(Piece(others, piece.size_before))
        self._failed(batch, ("spoiled",), next(iter(spoiled.values())))

    async def _rejected(self, batch: Batch[Item], piece: Piece, error: BaseException) -> None:
        concern = await self._concern(batch, error)
        if concern is Concern.EVERYTHING:
            batch.pieces.append(piece)
            self._end(batch, error)
            return
        slow, lost = concern is Concern.TIME, concern is Concern.LOST
        held = time.monotonic() + holds_rows_for(error)
        batch.locked_until = max(batch.locked_until, held)
        if len(piece.places) > 1:
            before = piece.size_before or (self._size if slow else 0)
            if slow:
                self._size = len(piece.places) // 2
            batch.halve(piece, before)
        elif concern is Concern.RACE and piece.places[0] not in batch.raced:
            batch.raced.add(piece.places[0])
            batch.pieces.append(piece)
        else:
            self._refuse(batch, piece, error, slow=slow)
        # One connection too many for a batch of which no row could be written.
        loses_all = not batch.done.written and batch.failures + SLOW >= batch.patience
        if lost and batch.hopeful and loses_all:
            self._end(batch, error)
            return
        self._failed(batch, rule_of(error), words_of(error), slow=slow or lost)
        if not batch.pieces and batch.lacks_resources:
            self._end(batch, error)

    async def _concern(self, batch: Batch[Item], error: BaseException) -> Concern:
        concern, code = concern_of(error), str(getattr(error, "sqlstate", ""))
        doubt = concern in (Concern.DOUBT, Concern.TIME) and code not in batch.cleared
        if doubt or concern is Concern.LOST:
            try:
                await batch.attempt([])
            except Exception:  # noqa: BLE001 - the first one is reported
                return Concern.EVERYTHING
            batch.cleared.add(code)
        return Concern.ROWS if concern is Concern.DOUBT else concern

    def _refuse(
        self, batch: Batch[Item], piece: Piece, error: BaseException, *, slow: bool
    ) -> None:
        if slow and piece.size_before:
            self._size = piece.size_before  # this row took too long, not the number of rows
        is_bug = not hasattr(error, "sqlstate") and concern_of(error) is Concern.ROWS
        if is_bug and not self._logged_bug:
            self._logged_bug = True
            log.error("row_crashed", doing=self._doing, exc_info=error)
        place = piece.places[0]
        batch.done.refused[place], batch.rules[place] = words_of(error), rule_of(error)
        batch.done.ruled_out.add(place)
        batch.short += is_of_resources(error)

    def _failed(self, batch: Batch[Item], rule: Rule, words: str, *, slow: bool = False) -> None:
        """Give the rest up if that has happened too often."""
        words = self._words.setdefault(rule, words)
        batch.failures += SLOW if slow else 1
        if not batch.is_hopeless or not batch.pieces:
            return
        rest, done = batch.take_rest(), batch.done
        done.given_up = True
        alike = rest | {place for place, other in batch.rules.items() if other == rule}
        # The same words for all of them, in each pass: in the log that is one cause.
        done.refused |= dict.fromkeys(alike, f"refused, as others are: {words}")
        if not slow:
            done.ruled_out |= rest

    def _end(self, batch: Batch[Item], error: BaseException) -> None:
        batch.done.untried = batch.take_rest()
        try:
            with translated(self._doing):
                raise error
        except Unusable as failure:
            batch.done.failure = failure
