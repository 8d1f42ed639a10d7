"""Writing what can be written of a batch, whatever the database rejects of it.

A batch that fails is halved, and its halves are, down to the row that is rejected: one row among
500 costs about twenty statements. What takes too long is halved too, and the smaller size is kept.

A rule that rejects everything must not cost a statement per row. So the rest of a batch is given up
after `PATIENCE` failed statements in a row; once that has happened in a pass, and for rows that
were rejected in an earlier one, after twice as many as it takes to come down to a single row. Which
rows are tried is left to chance, so that another pass tries others.
"""

from __future__ import annotations

import asyncio
import random
import sys
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Generic, TypeAlias, TypeVar

import structlog

from reconciler.core.errors import Unusable
from reconciler.postgres.connection.engine import translated
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
#: Times as many where a row of the batch could be written: the rule does not reject everything.
IF_ANY = 4
#: What one that took too long counts as: it has cost seconds. So does one that cost a connection.
SLOW = 4
#: Every this many failures, the largest piece is next and not the smallest: where the rejected
#: rows are neighbours, most of the others are in there.
LARGEST_EVERY = 3

#: Seconds between looks at rows that a lost statement may still have locked.
LOOKS_EACH = 0.2

log = structlog.get_logger(__name__)

Item = TypeVar("Item")
_Value = TypeVar("_Value")
_Rule: TypeAlias = tuple[str, ...]


@dataclass(slots=True)
class Done:
    """What became of a batch, by the places of its rows. A row in none of these: a lost race."""

    #: The status that each row has now, if the statement returns it.
    written: dict[int, str | None] = field(default_factory=dict)
    #: Why the database rejected a row, or why it was given up.
    refused: dict[int, str] = field(default_factory=dict)
    #: Of these, the rows that are better tried apart from others the next time.
    ruled_out: set[int] = field(default_factory=set)
    #: Rows that were not tried, because of the failure.
    untried: set[int] = field(default_factory=set)
    #: Whether the rest was refused untried, after too many failures in a row.
    given_up: bool = False
    #: Why nothing more could be written.
    failure: Unusable | None = None


@dataclass(frozen=True, slots=True)
class _Piece:
    places: Sequence[int]
    #: The largest piece there might be before a larger one than this took too long; else 0.
    size_before: int = 0

    def renumbered(self, values: Mapping[int, _Value]) -> dict[int, _Value]:
        """What there is of its rows, by their places in the batch."""
        return {self.places[number]: value for number, value in values.items()}


@dataclass(slots=True)
class _Batch(Generic[Item]):
    attempt: Callable[[Sequence[Item]], Awaitable[Attempt]]
    items: Sequence[Item]
    pieces: list[_Piece]
    patience: int
    hopeful: bool
    done: Done = field(default_factory=Done)
    #: Failures in a row.
    failures: int = 0
    #: Codes that were in doubt, and did not fail the statement without rows.
    cleared: set[str] = field(default_factory=set)
    #: What rejected the rows that were tried alone, and how many failed for lack of resources.
    rules: dict[int, _Rule] = field(default_factory=dict)
    short: int = 0
    #: The rows that have lost a race when tried alone.
    raced: set[int] = field(default_factory=set)
    #: Until when rows may be locked by a statement whose connection was lost.
    locked_until: float = 0.0

    def next(self) -> _Piece:
        largest = self.failures and self.failures % LARGEST_EVERY == 0
        choose = max if largest else min
        piece = choose(self.pieces, key=lambda each: len(each.places))
        self.pieces.remove(piece)
        return piece

    @property
    def is_hopeless(self) -> bool:
        """Whether there have been as many failures in a row as the rest is worth."""
        patience = self.patience * (IF_ANY if self.done.written else 1)
        return self.failures >= patience

    @property
    def loses_all(self) -> bool:
        """Whether this is one connection too many for a batch of which no row could be written."""
        return not self.done.written and self.failures + SLOW >= self.patience

    def of(self, piece: _Piece) -> Sequence[Item]:
        if len(piece.places) == len(self.items):
            return self.items
        return [self.items[place] for place in piece.places]

    def halve(self, piece: _Piece, size_before: int) -> None:
        middle = len(piece.places) // 2
        halves = [piece.places[:middle], piece.places[middle:]]
        random.shuffle(halves)
        self.pieces += (_Piece(half, size_before) for half in halves)

    def may_be_locked(self, piece: _Piece, attempt: Attempt) -> list[int]:
        """Rows that were passed over, maybe for a statement whose connection was lost."""
        if time.monotonic() >= self.locked_until:
            return []
        places = enumerate(piece.places)
        return [place for number, place in places if number not in attempt.written]

    def take_rest(self) -> set[int]:
        rest = {place for piece in self.pieces for place in piece.places}
        self.pieces.clear()
        return rest


class Halving:
    """Writes the batches of one pass, and learns from what the database makes of them."""

    def __init__(self, doing: str, words: dict[_Rule, str] | None = None) -> None:
        """`words` are those that each rule was first reported with.

        Kept by the caller, they are the same in each pass.
        """
        self._doing, self._words = doing, {} if words is None else words
        self._size, self._gave_up, self._told_bug = sys.maxsize, False, False

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
        pieces = [_Piece(range(len(items)))] if items else []
        batch = _Batch(attempt, items, pieces, patience, hopeful)
        while batch.pieces:
            piece = batch.next()
            if len(piece.places) > self._size:
                batch.pieces += _cut(piece, self._size)
            else:
                await self._try(batch, piece)
        self._gave_up = self._gave_up or (hopeful and batch.is_hopeless)
        return batch.done

    async def _try(self, batch: _Batch[Item], piece: _Piece) -> None:
        try:
            attempt = await batch.attempt(batch.of(piece))
        except Unanswered as unanswered:
            batch.pieces.append(piece)
            self._end(batch, said(unanswered.error))
        except Exception as error:  # noqa: BLE001 - it is judged, and kept
            await self._rejected(batch, piece, said(error))
        else:
            await self._carried_out(batch, piece, attempt)

    async def _carried_out(self, batch: _Batch[Item], piece: _Piece, attempt: Attempt) -> None:
        if not attempt.spoiled:
            is_whole = len(piece.places) == len(batch.items)
            batch.done.written |= attempt.written if is_whole else piece.renumbered(attempt.written)
            locked = batch.may_be_locked(piece, attempt)
            if locked:
                await asyncio.sleep(LOOKS_EACH)
                batch.pieces.append(_Piece(locked, piece.size_before))
            if attempt.written or not locked:
                batch.failures = 0
            return
        spoiled = piece.renumbered(attempt.spoiled)
        batch.done.refused |= spoiled
        batch.done.ruled_out |= spoiled.keys()
        if others := [place for place in piece.places if place not in spoiled]:
            batch.pieces.append(_Piece(others, piece.size_before))
        self._failed(batch, ("spoiled",), next(iter(spoiled.values())))

    async def _rejected(self, batch: _Batch[Item], piece: _Piece, error: Exception) -> None:
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
        if lost and batch.hopeful and batch.loses_all:
            self._end(batch, error)
            return
        self._failed(batch, rule_of(error), words_of(error), slow=slow or lost)
        if not batch.pieces and _is_in_number(batch):
            self._end(batch, error)

    async def _concern(self, batch: _Batch[Item], error: Exception) -> Concern:
        concern, code = concern_of(error), str(getattr(error, "sqlstate", ""))
        doubt = concern in (Concern.DOUBT, Concern.TIME) and code not in batch.cleared
        if doubt or concern is Concern.LOST:
            try:
                await batch.attempt([])
            except Exception:  # noqa: BLE001 - the first one is reported
                return Concern.EVERYTHING
            batch.cleared.add(code)
        return Concern.ROWS if concern is Concern.DOUBT else concern

    def _refuse(self, batch: _Batch[Item], piece: _Piece, error: Exception, *, slow: bool) -> None:
        if slow and piece.size_before:
            self._size = piece.size_before  # this row took too long, not the number of rows
        is_bug = not hasattr(error, "sqlstate") and concern_of(error) is Concern.ROWS
        if is_bug and not self._told_bug:
            self._told_bug = True
            log.error("row_crashed", doing=self._doing, exc_info=error)
        place = piece.places[0]
        batch.done.refused[place], batch.rules[place] = words_of(error), rule_of(error)
        batch.done.ruled_out.add(place)
        batch.short += is_of_resources(error)

    def _failed(self, batch: _Batch[Item], rule: _Rule, words: str, *, slow: bool = False) -> None:
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

    def _end(self, batch: _Batch[Item], error: Exception) -> None:
        batch.done.untried = batch.take_rest()
        try:
            with translated(self._doing):
                raise error
        except Unusable as failure:
            batch.done.failure = failure


def _cut(piece: _Piece, size: int) -> list[_Piece]:
    starts = range(0, len(piece.places), size)
    return [_Piece(piece.places[start : start + size], piece.size_before) for start in starts]


def _is_in_number(batch: _Batch[Item]) -> bool:
    """Whether all that was tried, more than one row, failed for lack of resources."""
    return batch.short > 1 and not batch.done.written
