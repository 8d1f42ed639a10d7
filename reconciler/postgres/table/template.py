"""Workflow ids that are composed of columns: a template such as `export/{batch}/{part}`. Pure.

As in a format string of Python, `{batch}` stands for the text of that column and `{{` for a brace.
A name without braces is the column that contains the whole workflow id.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from string import Formatter
from typing import Any, NamedTuple


class Part(NamedTuple):
    """What the text of a column may be."""

    #: The value of a text; None if the column has no such text.
    read: Callable[[str], object | None]
    #: Characters; None if there is no limit.
    longest: int | None = None


@dataclass(frozen=True, slots=True)
class Template:
    """The columns of a workflow id, and the texts around them."""

    columns: tuple[str, ...]
    #: Before, between and after the columns; between them never empty.
    texts: tuple[str, ...]

    @classmethod
    def parse(cls, written: str) -> Template:
        """The template as it is written in the settings. Raises `ValueError`."""
        if not set(written) & set("{}"):
            return cls((written,), ("", ""))
        columns, texts = list[str](), [""]
        try:
            parts = list(Formatter().parse(written))
        except ValueError:
            raise ValueError("has a brace without its counterpart: write {{ for a brace") from None
        for text, column, form, conversion in parts:
            texts[-1] += text
            if column is None:
                continue
            if not column or form or conversion:
                raise ValueError("must have the name of a column between braces, and nothing else")
            if columns and not texts[-1]:
                raise ValueError(
                    f"has no text between {{{columns[-1]}}} and {{{column}}}, so it is unclear "
                    "where to split a workflow id"
                )
            columns.append(column)
            texts.append("")
        if not columns:
            raise ValueError("names no column: write its name between braces, as in sync-{id}")
        return cls(tuple(columns), tuple(texts))

    @property
    def is_column(self) -> bool:
        """Whether one column contains the whole workflow id."""
        return self.texts == ("", "")

    def is_bounded(self, place: int) -> bool:
        """Whether the value of this column, counted from 0, begins or ends where the id does."""
        return place in (0, len(self.columns) - 1)

    def pieces(self, workflow_id: str, place: int, longest: int | None = None) -> Iterator[str]:
        """Every text that this column, counted from 0, may have in a row of the workflow id.

        Perhaps some that it cannot have: a row counts only if its columns compose the id exactly.
        The number of pieces is linear in the id's length if it `is_bounded`, or `longest` is given.
        """
        before, after = self.texts[place : place + 2]
        is_first, is_last = place == 0, place == len(self.columns) - 1
        if not workflow_id.startswith(before if is_first else ""):
            return
        for found in [0] if is_first else _places(workflow_id, before, 0, None):
            start = found + len(before)
            for end in _places(workflow_id, after, start + 1, longest, at_end=is_last):
                yield workflow_id[start:end]

    def splits(self, workflow_id: str, parts: Sequence[Part]) -> Iterator[tuple[Any, ...]]:
        """Every way to compose the id: the values of all columns, which `parts` describes.

        Their number is linear in the id's length if all columns but one have a longest text.
        """
        if workflow_id.startswith(self.texts[0]):
            yield from self._splits(workflow_id, len(self.texts[0]), parts)

    def _splits(self, text: str, start: int, parts: Sequence[Part]) -> Iterator[tuple[Any, ...]]:
        part, *others = parts
        after = self.texts[-len(parts)]
        for end in _places(text, after, start + 1, part.longest, at_end=not others):
            if (value := part.read(text[start:end])) is None:
                continue
            if not others:
                yield (value,)
                continue
            for rest in self._splits(text, end + len(after), others):
                yield (value, *rest)


def _places(
    text: str, part: str, since: int, longest: int | None, *, at_end: bool = False
) -> Iterator[int]:
    """Where a part is found in a text, `longest` characters after `since` at most."""
    until = len(text) if longest is None else since + longest
    if at_end:
        place = len(text) - len(part)
        if since <= place <= until and text.endswith(part):
            yield place
        return
    place = text.find(part, since, until + len(part))
    while place >= 0:
        yield place
        place = text.find(part, place + 1, until + len(part))
