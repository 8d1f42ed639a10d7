"""Which of many warnings are worth a line: the first few per cause, and not again in each pass."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from dataclasses import dataclass, field

#: Lines per cause and pass, and causes that are kept apart.
MAX_LINES = 5
MAX_CAUSES = 20
#: Characters of a cause that distinguish it from others.
MAX_LENGTH = 200
#: Stands for all causes beyond these.
OTHER = "other causes"


@dataclass(slots=True)
class _Cause:
    count: int = 0
    #: The first few that it concerned.
    first: set[Hashable] = field(default_factory=set)


class Causes:
    """Counts warnings by cause, in rounds: a round is a pass. Its size does not grow with them."""

    def __init__(self, lines: int = MAX_LINES) -> None:
        """`lines`: per cause and round."""
        self._lines = lines
        self._now: dict[str, _Cause] = {}
        self._before: Mapping[str, _Cause] = {}
        self._summed_up: Mapping[str, int] = {}

    def is_news(self, cause: str, of: Hashable = None) -> bool:
        """Count it; whether it is worth a line: not if the last round had it, nor past the cap.

        `of` is what it concerns: the id of a row, a namespace.
        """
        cause = cause[:MAX_LENGTH]
        if cause not in self._now and len(self._now) >= MAX_CAUSES:
            cause = OTHER
        known = self._now.setdefault(cause, _Cause())
        known.count += 1
        if of in known.first or len(known.first) >= self._lines:
            return False
        known.first.add(of)
        before = self._before.get(cause)
        return before is None or of not in before.first

    def end_round(self, *, repeat: bool = False) -> Mapping[str, int]:
        """How many had no line of their own, by cause; empty if the last round was much the same.

        Much the same: no new cause, and none that has doubled. `repeat`: return them even then.
        """
        beyond = {
            cause: known.count - len(known.first)
            for cause, known in self._now.items()
            if known.count > len(known.first)
        }
        self._now, self._before = {}, self._now
        told = self._summed_up
        if not repeat and all(count < 2 * told.get(cause, 0) for cause, count in beyond.items()):
            self._summed_up = {cause: told[cause] for cause in beyond}
            return {}
        self._summed_up = beyond
        return beyond


def in_words(counts: Mapping[str, int]) -> str:
    """Causes with their counts, the most frequent first."""
    ordered = sorted(counts.items(), key=lambda each: -each[1])
    return "; ".join(f"{cause} ({count})" for cause, count in ordered)
