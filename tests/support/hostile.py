"""Text of somebody who wants to reach further than the place that it is shown in."""

from __future__ import annotations

#: Clears a terminal and names its window, reverses words, forges a line, and is markup besides.
HOSTILE = (
    "a\x1b[2J\x1b]0;owned\x07\u202eevil\u2066\u200b\u061c\r\n2026-01-01 FORGED [red]b[/red] :smile:"
    " \x9b31m\x7f\x00\u2028\U000e0041\u3164\udcff"
)
#: The same for where neither NUL nor half a surrogate pair can come to: rows and workflows.
STORABLE = HOSTILE.replace("\x00", "").replace("\udcff", "")


def unseen(text: str) -> set[str]:
    """The characters of a text that a terminal does not show, but for the ends of lines."""
    return {each for each in text if not each.isprintable()} - {"\n"}
