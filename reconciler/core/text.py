"""One rule for every text that is stored or logged: a single line of bounded length."""

from __future__ import annotations

import re

# Everything a terminal, a log line or PostgreSQL (which refuses NUL) could trip over: runs of
# white space, C0 and C1 controls, the Unicode line and paragraph separators, and halves of
# surrogate pairs, which no encoding takes.
_BREAKS = re.compile(r"[\s\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]+")

_ELLIPSIS = "…"

#: Characters of a failure that are looked at where its text must be bounded before it is known how
#: much of it is kept: enough for every sensible limit, and little beside the server's 2 MB.
LONGEST = 100_000


def one_line(text: str, limit: int) -> str:
    """`text` as one line of at most `limit` characters, cut with an ellipsis if it is longer."""
    # Cut generously first: a megabyte of text is not worth a scan when 2,000 characters are kept.
    line = flat(text[: limit * 4 + 64])
    if len(line) <= limit and len(text) <= limit * 4 + 64:
        return line
    return line[: max(limit - 1, 0)].rstrip() + _ELLIPSIS if limit > 0 else ""


def flat(text: str) -> str:
    """All of `text` as one line."""
    return _BREAKS.sub(" ", text).strip()
