"""A problem of a mapped table, and how to fix it."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Problem:
    """What is wrong, in one line, and the fix."""

    text: str
    #: Empty if the text says enough.
    fix: str = ""
    #: Whether the problem is the role's rights, not the table.
    of_role: bool = False

    def __str__(self) -> str:
        return f"{self.text}: {self.fix}" if self.fix else self.text
