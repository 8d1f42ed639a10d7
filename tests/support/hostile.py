"""Malicious text that tries to affect more than the place where it is shown."""

from __future__ import annotations

#: Clears a terminal, renames its window, reverses words, forges a log line, and contains markup.
HOSTILE = (
    "a\x1b[2J\x1b]0;owned\x07\u202eevil\u2066\u200b\u061c\r\n2026-01-01 FORGED [red]b[/red] :smile:"
    " \x9b31m\x7f\x00\u2028\U000e0041\u3164\udcff"
)
#: The same without NUL and lone surrogates, which rows and workflows cannot contain.
STORABLE = HOSTILE.replace("\x00", "").replace("\udcff", "")


def unseen(text: str) -> set[str]:
    """The characters that a terminal does not show, except newlines."""
    return {each for each in text if not each.isprintable()} - {"\n"}
