"""Text: `one_line` for what is stored, `visible` for what people see; numbers and times in words.

A workflow id or an error message, which anyone may have chosen, must not be able to clear a
terminal, forge a log line or reverse the order of words.
"""

from __future__ import annotations

import json
import re
import unicodedata
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

# Everything that could break a terminal, a log line or PostgreSQL (which refuses NUL): runs of
# white space, C0 and C1 controls, the Unicode line and paragraph separators, and halves of
# surrogate pairs, which cannot be encoded.
_BREAKS = re.compile(r"[\s\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]+")

_ELLIPSIS = "…"

#: Characters of a failure that are read where its text must be bounded before the limit for it is
#: known: enough for any sensible limit, and little compared with the server's 2 MB.
LONGEST = 100_000


def one_line(text: str, limit: int) -> str:
    """`text` as one line of at most `limit` characters, cut with an ellipsis if it is longer."""
    # Cut roughly first: do not scan a megabyte of text of which 2,000 characters are kept.
    line = flat(text[: limit * 4 + 64])
    if len(line) <= limit and len(text) <= limit * 4 + 64:
        return line
    return line[: max(limit - 1, 0)].rstrip() + _ELLIPSIS if limit > 0 else ""


def flat(text: str) -> str:
    """All of `text` as one line."""
    return _BREAKS.sub(" ", text).strip()


# What is printable for `str.isprintable` and yet invisible: fillers, the grapheme joiner and vowels
# that are never shown (Default_Ignorable_Code_Point of Unicode).
_UNSEEN = re.compile("[\u034f\u115f\u1160\u17b4\u17b5\u180b-\u180f\u3164\uffa0]")


def plural(count: int, noun: str) -> str:
    """Such as "1 row" and "1,200 rows"."""
    return f"{count:,} {noun}{'' if count == 1 else 's'}"


def or_null(value: str | None) -> str:
    """A value of a column for people to read."""
    return "null" if value is None else value


_UNITS = (("d", 86_400.0), ("h", 3_600.0), ("min", 60.0))
#: Numbers from here on are shown without decimals.
_WHOLE = 100


def duration(length: timedelta) -> str:
    """A length of time in a unit that suits it, e.g. "2.5 d", "90 s", "0.4 ms"; without a sign."""
    seconds = abs(length.total_seconds())
    for unit, size in _UNITS:
        if seconds >= 2 * size:
            return f"{_number(seconds / size)} {unit}"
    if seconds >= 1 or not seconds:
        return f"{_number(seconds)} s"
    return f"{_number(seconds * 1000)} ms"


def rough(length: timedelta) -> str:
    """A length of time in whole units, as people say how long ago something was; without a sign.

    Rounded down, as clocks are: what is said of two times then agrees with them.
    """
    seconds = abs(length.total_seconds())
    if 0 < seconds < 1:
        return "under 1 s"
    unit, size = next((each for each in _UNITS if seconds >= 2 * each[1]), ("s", 1.0))
    return f"{seconds // size:.0f} {unit}"


def _number(value: float) -> str:
    return f"{value:.0f}" if value >= _WHOLE else f"{value:.3g}"


def iso(time: datetime | None) -> str | None:
    """A point in time for JSON, in ISO 8601."""
    return None if time is None else time.isoformat()


def utc(time: datetime) -> str:
    """A point in time, to the second: `2026-11-25T17:44:45Z`."""
    return f"{time.astimezone(UTC).replace(tzinfo=None).isoformat(timespec='seconds')}Z"


def visible(text: str) -> str:
    r"""`text` with an escape, such as `\x1b` or `\u202e`, for every invisible character.

    These are control characters including line breaks, bidi overrides and isolates, characters
    without width, tags, and halves of surrogate pairs. Idempotent.
    """
    return _escaped(text, lambda character: character.encode("unicode_escape").decode())


def visible_json(value: object) -> str:
    """`value` as one line of JSON that people can read, with the escapes of JSON."""
    return _escaped(json.dumps(value, ensure_ascii=False), lambda each: json.dumps(each)[1:-1])


def _escaped(text: str, escape: Callable[[str], str]) -> str:
    if text.isprintable() and not _UNSEEN.search(text):
        return text
    return "".join(each if _is_seen(each) else escape(each) for each in text)


def _is_seen(character: str) -> bool:
    if character.isprintable():
        return not _UNSEEN.match(character)
    return unicodedata.category(character) == "Zs"  # spaces of other widths are harmless
