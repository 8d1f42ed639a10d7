"""A batch while it is written: the pieces that are left, and what happened to its rows so far."""

from __future__ import annotations

import random
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Generic, TypeAlias, TypeVar

from reconciler.core.errors import Unusable
from reconciler.postgres.rows.guarded import Attempt

#: Times as many failures where a row of the batch was written: the rule does not reject everything.
IF_ANY = 4
#: Every this many failures, the largest piece is next and not the smallest: where the rejected
#: rows are neighbours, most of the others are in there.
LARGEST_EVERY = 3

Item = TypeVar("Item")
_Value = TypeVar("_Value")
#: What rejects rows: see `rule_of`.
Rule: TypeAlias = tuple[str, ...]


@dataclass(slots=True)
class Done:
    """What happened to a batch, by the places of its rows. A row in none of these: a lost race."""

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
class Piece:
    """A part of a batch, written by one statement."""

    places: Sequence[int]
    #: The largest piece allowed before a larger one than this took too long; else 0.
    size_before: int = 0

    def by_place(self, values: Mapping[int, _Value]) -> dict[int, _Value]:
        """Values by the numbers of its rows, as values by their places in the batch."""
        return {self.places[number]: value for number, value in values.items()}

    def cut(self, size: int) -> list[Piece]:
        """Pieces of at most `size` rows."""
        starts = range(0, len(self.places), size)
        return [Piece(self.places[start : start + size], self.size_before) for start in starts]


@dataclass(slots=True)
class Batch(Generic[Item]):
    """Rows to write, and what is known of them."""

    attempt: Callable[[Sequence[Item]], Awaitable[Attempt]]
    items: Sequence[Item]
    #: Failures in a row after which the rest is given up.
    patience: int
    hopeful: bool
    pieces: list[Piece] = field(default_factory=list)
    done: Done = field(default_factory=Done)
    #: Failures in a row.
    failures: int = 0
    #: Codes that were in doubt, and did not fail the statement without rows.
    cleared: set[str] = field(default_factory=set)
    #: What rejected the rows that were tried alone, and how many failed for lack of resources.
    rules: dict[int, Rule] = field(default_factory=dict)
    short: int = 0
    #: The rows that have lost a race when tried alone.
    raced: set[int] = field(default_factory=set)
    #: Until when rows may be locked by a statement whose connection was lost.
    locked_until: float = 0.0

    def __post_init__(self) -> None:
        if self.items:
            self.pieces.append(Piece(range(len(self.items))))

    def next(self) -> Piece:
        """Take the next piece to try."""
        largest = self.failures and self.failures % LARGEST_EVERY == 0
        choose = max if largest else min
        piece = choose(self.pieces, key=lambda each: len(each.places))
        self.pieces.remove(piece)
        return piece

    @property
    def is_hopeless(self) -> bool:
        """Whether there have been as many failures in a row as the rest is worth."""
        return self.failures >= self.patience * (IF_ANY if self.done.written else 1)

    @property
    def lacks_resources(self) -> bool:
        """Whether all that was tried, more than one row, failed for lack of resources."""
        return self.short > 1 and not self.done.written

    def of(self, piece: Piece) -> Sequence[Item]:
        """The rows of a piece."""
        if len(piece.places) == len(self.items):
            return self.items
        return [self.items[place] for place in piece.places]

    def halve(self, piece: Piece, size_before: int) -> None:
        """Put both halves back, in random order."""
        middle = len(piece.places) // 2
        halves = [piece.places[:middle], piece.places[middle:]]
        random.shuffle(halves)
        self.pieces += (Piece(half, size_before) for half in halves)

    def add_written(self, piece: Piece, attempt: Attempt) -> None:
        """Count the rows that a statement wrote."""
        is_whole = len(piece.places) == len(self.items)
        self.done.written |= attempt.written if is_whole else piece.by_place(attempt.written)

    def may_be_locked(self, piece: Piece, attempt: Attempt) -> list[int]:
        """Rows that were skipped, maybe locked by a statement whose connection was lost."""
        if time.monotonic() >= self.locked_until:
            return []
        places = enumerate(piece.places)
        return [place for number, place in places if number not in attempt.written]

    def take_rest(self) -> set[int]:
        """Drop all pieces; returns their rows."""
        rest = {place for piece in self.pieces for place in piece.places}
        self.pieces.clear()
        return rest
