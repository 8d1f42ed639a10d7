"""The cause of a failure: the part of its text that is the same for every workflow that has it.

`QuotaExceeded: zone limit is 50` becomes `QuotaExceeded: zone limit is N`. What differs from one
workflow to the next is replaced: numbers, times, addresses and ids. It does not depend on how long
they are, so that the tenth attempt belongs to the same group as the ninth.
"""

from __future__ import annotations

import re

from reconciler.core.text import one_line

#: Characters of a cause: enough to distinguish causes, and one line of a wide terminal.
CAUSE_LIMIT = 200

#: What stands for a part that differs.
_ANY = "N"

# Longest first: the first that matches at a place wins. What begins with a run of any characters
# may only match at its beginning, so that the time is linear in the length of the text.
_VARIABLE = re.compile(
    r"""
      (?P<quote>["'`]) (?=[^\s"'`]*[\d@]) [^\s"'`]+ (?P=quote)      # a quoted id
    | (?<![\w.+-]) [\w.+-]+ @ [\w-]+ (?:\.[\w-]+)*                  # an e-mail address, pid@host
    | \d{4}-\d\d-\d\d (?:[T ]\d\d:\d\d(?::\d\d(?:[.,]\d+)?)?)?      # a date, perhaps with a time
      (?:Z|[+-]\d\d:?\d\d)?
    | [0-9a-f]{8}-(?:[0-9a-f]{4}-){3}[0-9a-f]{12}                   # a UUID
    | \b 0x[0-9a-f]+                                                # an address in memory
    | \b (?:\d+(?:\.\d+)?(?:ns|us|µs|ms|s|m|h))+ \b                 # a duration, as Go prints it
    | (?<!\w) -?\d+ (?:[.,:]\d+)* (?:e[+-]?\d+)? (?!\w)             # a number, a time, ip:port
    | (?<![^\W_]) (?P<word> [^\W_]*? \d [^\W_]*)                    # a word with digits
    | \d+                                                           # what is left of another
    """,
    re.VERBOSE | re.IGNORECASE,
)
_DIGITS = re.compile(r"\d+")


def stable(text: str, *own: str) -> str:
    """`text` in one line of at most `CAUSE_LIMIT` characters, with `N` for what differs.

    `own`: the ids of the workflow, which are replaced wherever they are words of the text.
    """
    line = _without(own, one_line(text, 4 * CAUSE_LIMIT), "0")  # any number
    return one_line(_VARIABLE.sub(_replaced, line), CAUSE_LIMIT)


def stable_name(name: str, *own: str) -> str:
    """`name` of a task queue, with `N` for the ids in it, as in that of a queue of one host.

    Numbers stay: `orders-2` is not `orders-3`.
    """
    return _ID.sub(_ANY, _without(own, name, _ANY))


# A UUID, or a long hexadecimal number.
_ID = re.compile(
    r"[0-9a-f]{8}-(?:[0-9a-f]{4}-){3}[0-9a-f]{12}|(?<![^\W_])(?=[a-f]*\d)[0-9a-f]{12,}(?![^\W_])",
    re.IGNORECASE,
)


def _without(own: tuple[str, ...], text: str, instead: str) -> str:
    for each in own:
        if each and each in text:
            text = re.sub(rf"(?<!\w){re.escape(each)}(?!\w)", instead, text)
    return text


def _replaced(found: re.Match[str]) -> str:
    """`N`, or a word around a number, such as `s3` or `Http2Error`, with `N` for that.

    A word around several numbers is an id.
    """
    word = found["word"]
    if not word or len(_DIGITS.findall(word)) > 1:
        return _ANY
    return _DIGITS.sub(_ANY, word)
