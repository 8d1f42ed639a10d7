"""Printing for people: text is shown as it is, never obeyed as markup or by the terminal."""

from __future__ import annotations

from rich.console import Console
from rich.text import Text

from reconciler.core.text import visible


def screen(*, stderr: bool = False) -> Console:
    """A console that does not interpret markup, emoji codes or anything to highlight."""
    return Console(stderr=stderr, markup=False, emoji=False, highlight=False)


def shown(*parts: str | tuple[str, str], style: str = "") -> Text:
    """Text of one line; each part is the text, or the text and its style."""
    clean = (
        (visible(part), "") if isinstance(part, str) else (visible(part[0]), part[1])
        for part in parts
    )
    return Text.assemble(*clean, style=style)
