"""What must not be kept of a failure: personal data, cut out before the text goes anywhere.

Every text of a failure passes through here on its way into a row, the journal, a plan, the log or
the terminal. What identifies a workflow (ids, types, names of activities) is needed to act on it;
an expression that matches it in a failure's text takes it out of that text only.

An operator's expression may take exponential time. `re` holds the interpreter's lock while it
matches and cannot be stopped; `regex` releases it and takes a time limit. Use this class through
`Redactor`, which keeps it off the event loop.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from reconciler.core.text import LONGEST, flat, one_line

if TYPE_CHECKING:
    import regex

#: Stands for what was cut out.
REDACTED = "[redacted]"
#: Stands for a whole text that could not be searched in time.
UNSEARCHED = "[redacted: searching the text for RECONCILER_REDACT took too long]"
#: Characters at the end of a text that was cut off that are dropped with it: what matches may have
#: begun in them, and without its end it matches no more.
MARGIN = 10_000
#: Seconds of CPU for one expression on one text; a text of usual length takes a thousandth of it.
SECONDS = 0.25


@dataclass(frozen=True, slots=True)
class Redaction:
    """The expressions whose matches are cut out; none of them, and a text stays as it is."""

    patterns: tuple[regex.Pattern[str], ...] = ()

    def hide(self, text: str, limit: int = LONGEST) -> str:
        """`text` as one line without what matches; as it is where nothing is to be redacted.

        It becomes one line first, so that an expression is held against what people see. Not cut
        to the limit yet: of a match that is cut, the first half would stay. Only about twice as
        much as `limit` keeps is searched. Raises `TimeoutError` if an expression takes too long.
        """
        if not self.patterns:
            return text
        line = flat(text[:LONGEST])
        searched = line[: 2 * limit + MARGIN]
        if len(text) < LONGEST and searched == line:
            return self._without_matches(line, len(line))
        return self._without_matches(searched, max(len(searched) - MARGIN, 0)) + "…"

    def line(self, text: str, limit: int) -> str:
        """`text` as one line of at most `limit` characters, without what matches.

        Raises `TimeoutError` as `hide` does.
        """
        return one_line(self.hide(text, limit), limit)

    def _without_matches(self, line: str, end: int) -> str:
        parts: list[str] = []
        kept = 0
        for start, stop in _merged(self._matches(line)):
            if start >= end:
                break
            parts += line[kept:start], REDACTED
            kept = stop
        return "".join(parts) + line[kept:end]

    def _matches(self, line: str) -> list[tuple[int, int]]:
        """Each expression on the text as it was: none sees what another has put there."""
        found = [
            match.span()
            for pattern in self.patterns
            for match in pattern.finditer(line, concurrent=True, timeout=SECONDS)
        ]
        return sorted((start, stop) for start, stop in found if start < stop)


def _merged(spans: Sequence[tuple[int, int]]) -> Iterator[tuple[int, int]]:
    """Spans in their order, those that overlap as one."""
    waiting: tuple[int, int] | None = None
    for start, stop in spans:
        if waiting is None:
            waiting = start, stop
        elif start < waiting[1]:
            waiting = waiting[0], max(stop, waiting[1])
        else:
            yield waiting
            waiting = start, stop
    if waiting is not None:
        yield waiting
