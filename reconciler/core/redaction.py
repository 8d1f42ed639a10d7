"""Redaction: cuts personal data out of the text of a failure before the text goes anywhere.

Every failure's text passes through here before it gets into a row, the journal, a plan, the log or
a terminal. Workflow ids, types and activity names stay everywhere else, because operators need
them to act: an expression that matches one removes it from the failure's text only.

An operator's expression may take exponential time. `re` holds the interpreter's lock while it
matches and cannot be stopped; `regex` releases it and has a time limit. Use this class through
`Redactor`, which keeps it off the event loop.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from reconciler.core.text import LONGEST, flat, one_line

if TYPE_CHECKING:
    import regex

#: Replaces a match.
REDACTED = "[redacted]"
#: Replaces a whole text that could not be searched in time.
UNSEARCHED = "[redacted: searching the text for RECONCILER_REDACT took too long]"
#: Characters dropped at the end of a text that was cut: a match may begin in them and not be found,
#: because its end is missing.
MARGIN = 10_000
#: Seconds of CPU for one expression on one text; a text of usual length takes a thousandth of that.
SECONDS = 0.25


@dataclass(frozen=True, slots=True)
class Redaction:
    """Cuts out what matches any of some expressions; without expressions, a text stays as it is."""

    patterns: tuple[regex.Pattern[str], ...] = ()

    def hide(self, text: str, limit: int = LONGEST) -> str:
        """`text` as one line without what matches; unchanged if there are no expressions.

        It becomes one line first, so that expressions match what people see. It is not cut to
        `limit`, because half of a match would then stay, but only about twice as much is searched.
        Raises `TimeoutError` if an expression takes too long.
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

        Raises `TimeoutError` if an expression takes too long.
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
        """The places of all matches in the original text, in order."""
        found = [
            match.span()
            for pattern in self.patterns
            for match in pattern.finditer(line, concurrent=True, timeout=SECONDS)
        ]
        return sorted((start, stop) for start, stop in found if start < stop)


def _merged(spans: Sequence[tuple[int, int]]) -> Iterator[tuple[int, int]]:
    """The spans in order, with overlapping ones merged."""
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
