"""One thing that is wrong with a table as it is mapped, and how to fix it."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Problem:
    """What is wrong, in one line; and what to do about it."""

    text: str
    #: Empty where the text leaves only one thing to do.
    fix: str = ""
    #: Whether the table is right, and the role may not use it.
    of_role: bool = False

    def __str__(self) -> str:
        return f"{self.text}: {self.fix}" if self.fix else self.text
