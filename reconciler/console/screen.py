"""Printing for people: text is never interpreted, neither as markup nor by the terminal.

An entry is one line, however long: it can be copied and searched, on a terminal and in a pipe.
"""

from __future__ import annotations

from collections.abc import Sequence

from rich.cells import cell_len
from rich.console import Console
from rich.text import Text

from reconciler.core.text import visible


def screen(*, stderr: bool = False) -> Console:
    """A console that interprets no markup and no emoji codes, and highlights nothing."""
    return Console(stderr=stderr, markup=False, emoji=False, highlight=False)


def shown(*parts: str | tuple[str, str], style: str = "") -> Text:
    """Text of one line; each part is the text, or the text and its style."""
    clean = (
        (visible(part), "") if isinstance(part, str) else (visible(part[0]), part[1])
        for part in parts
    )
    return Text.assemble(*clean, style=style)


def print_line(console: Console, *parts: str | tuple[str, str], style: str = "") -> None:
    """Print one line, which does not wrap; `parts` and `style` are those of `shown`."""
    console.print(shown(*parts, style=style), soft_wrap=True)


def print_aligned(
    lines: Sequence[Sequence[str]], styles: Sequence[str], console: Console, right: int = -1
) -> None:
    """Print lines of cells as a table without trailing blanks; empty columns are left out.

    `styles` has one per column; the column with index `right` is aligned to the right.
    """
    table = [[visible(cell) for cell in line] for line in lines]
    widths = [max(map(cell_len, column)) for column in zip(*table, strict=True)]
    for line in table:
        last = max((number for number, cell in enumerate(line) if cell), default=-1)
        parts: list[tuple[str, str]] = []
        for number in filter(widths.__getitem__, range(last + 1)):
            space = " " * (widths[number] - cell_len(line[number]))
            cell = space + line[number] if number == right else line[number] + space
            parts += [("  ", "")] if parts else []
            parts.append((cell if number < last else cell.rstrip(), styles[number]))
        print_line(console, *parts)
