"""Which of many warnings to log: the first few per cause, and not again in every pass."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from dataclasses import dataclass, field

#: Lines per cause and pass, and the causes that are counted separately.
MAX_LINES = 5
MAX_CAUSES = 20
#: Characters that two causes are compared by.
MAX_LENGTH = 200
#: Stands for all other causes.
OTHER = "other causes"


@dataclass(slots=True)
class _Cause:
    count: int = 0
    #: The first few subjects.
    first: set[Hashable] = field(default_factory=set)


class Causes:
    """Counts warnings by cause, in rounds such as passes. Its size is bounded."""

    def __init__(self, lines: int = MAX_LINES) -> None:
        """`lines`: per cause and round."""
        self._lines = lines
        self._now: dict[str, _Cause] = {}
        self._before: Mapping[str, _Cause] = {}
        self._summed_up: Mapping[str, int] = {}

    def is_news(self, cause: str, of: Hashable = None) -> bool:
        """Count it, and return whether to log it: not past the cap, nor if the last round had it.

        `of`: the subject, such as the id of a row or a namespace.
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
        """The number of warnings without a line, by cause; empty if there is nothing new.

        New is a cause that has no earlier summary, or whose number has doubled since. `repeat`:
        return them even if none is new.
        """
        beyond = {
            cause: known.count - len(known.first)
            for cause, known in self._now.items()
            if known.count > len(known.first)
        }
        self._now, self._before = {}, self._now
        before = self._summed_up
        if not repeat and all(count < 2 * before.get(cause, 0) for cause, count in beyond.items()):
            self._summed_up = {cause: before[cause] for cause in beyond}
            return {}
        self._summed_up = beyond
        return beyond


def in_words(counts: Mapping[str, int]) -> str:
    """Causes with their counts, the most frequent first."""
    ordered = sorted(counts.items(), key=lambda each: -each[1])
    return "; ".join(f"{cause} ({count})" for cause, count in ordered)
