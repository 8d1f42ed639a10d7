"""What a benchmark reports: figures, what they are compared with, and their goals."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

#: Units that follow their number without a space.
_CLOSE = ("%", "×")


@dataclass(frozen=True, slots=True)
class Goal:
    """A bound for a number, inclusive."""

    bound: Literal["≥", "≤"]
    limit: float
    unit: str = ""

    def is_met(self, value: float) -> bool:
        """Whether the number is within the bound."""
        return value >= self.limit if self.bound == "≥" else value <= self.limit

    def __str__(self) -> str:
        return f"{self.bound} {amount(self.limit, self.unit)}"


def at_least(limit: float, unit: str = "") -> Goal:
    """A lower bound."""
    return Goal("≥", limit, unit)


def at_most(limit: float, unit: str = "") -> Goal:
    """An upper bound."""
    return Goal("≤", limit, unit)


@dataclass(frozen=True, slots=True)
class Figure:
    """One measurement, absolute and compared with another one of the same run."""

    name: str
    value: float
    unit: str
    #: Over what `compared` names, or the other way round: higher is better.
    ratio: float | None = None
    compared: str = ""
    #: For the ratio if there is one, otherwise for the value.
    goal: Goal | None = None

    @property
    def is_met(self) -> bool | None:
        """Whether the goal is met; None without a goal."""
        judged = self.value if self.ratio is None else self.ratio
        return None if self.goal is None else self.goal.is_met(judged)

    @property
    def measured(self) -> str:
        """The absolute figure with its unit."""
        return amount(self.value, self.unit)

    @property
    def comparison(self) -> str:
        """The ratio and what it refers to; empty if there is none."""
        return "" if self.ratio is None else f"{amount(self.ratio, '×')} {self.compared}".rstrip()


@dataclass(frozen=True, slots=True)
class Result:
    """The figures of one scenario."""

    title: str
    #: How it was measured, for the reader of the page: one paragraph.
    method: str
    figures: Sequence[Figure]


def amount(value: float, unit: str) -> str:
    """A number with three significant digits, and its unit."""
    digits = 0 if abs(value) >= 100 or value == int(value) else 1 if abs(value) >= 10 else 2
    text = f"{value:,.{digits}f}"
    return f"{text}{'' if not unit or unit in _CLOSE else ' '}{unit}"
