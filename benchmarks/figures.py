"""What a benchmark says: figures, what they are compared with, and what was asked of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

#: Units that stand behind a number without a space.
_CLOSE = ("%", "×")


class Bound(StrEnum):
    """From which side a goal bounds a figure."""

    AT_LEAST = "≥"
    AT_MOST = "≤"


@dataclass(frozen=True, slots=True)
class Goal:
    """What is asked of a number."""

    bound: Bound
    limit: float
    unit: str = ""

    def is_met(self, value: float) -> bool:
        """Whether the number is as asked; the limit itself is."""
        return value >= self.limit if self.bound is Bound.AT_LEAST else value <= self.limit

    def reached(self, value: float) -> float:
        """The number as a share of what was asked: 1 or more where it is met."""
        above, below = (value, self.limit) if self.bound is Bound.AT_LEAST else (self.limit, value)
        return above / below if below > 0 else float("inf")

    def __str__(self) -> str:
        return f"{self.bound.value} {amount(self.limit, self.unit)}"


def at_least(limit: float, unit: str = "") -> Goal:
    """A goal from below."""
    return Goal(Bound.AT_LEAST, limit, unit)


def at_most(limit: float, unit: str = "") -> Goal:
    """A goal from above."""
    return Goal(Bound.AT_MOST, limit, unit)


@dataclass(frozen=True, slots=True)
class Figure:
    """One line: what was measured, as it is and compared with something else in the same run."""

    name: str
    value: float
    unit: str
    #: The value over that of `compared`, or the other way round: the more, the better.
    ratio: float | None = None
    compared: str = ""
    #: Of the ratio if there is one, of the value if not.
    goal: Goal | None = None

    @property
    def judged(self) -> float:
        """The number that the goal is about."""
        return self.value if self.ratio is None else self.ratio

    @property
    def is_met(self) -> bool | None:
        """Whether it is as asked; None where nothing was."""
        return None if self.goal is None else self.goal.is_met(self.judged)

    @property
    def measured(self) -> str:
        """The absolute figure, for people."""
        return amount(self.value, self.unit)

    @property
    def comparison(self) -> str:
        """The ratio and what it is to; empty if there is none."""
        return "" if self.ratio is None else f"{amount(self.ratio, '×')} {self.compared}".rstrip()

    @property
    def verdict(self) -> str:
        """The goal's end, in a word."""
        return {None: "", True: "met", False: "missed"}[self.is_met]


@dataclass(frozen=True, slots=True)
class Result:
    """What one scenario has found."""

    title: str
    #: How it was measured, for the reader of the page: one paragraph.
    method: str
    figures: Sequence[Figure]

    def __getitem__(self, name: str) -> Figure:
        return next(figure for figure in self.figures if figure.name == name)


def amount(value: float, unit: str) -> str:
    """A number with three digits that count, and its unit."""
    digits = 0 if abs(value) >= 100 or value == int(value) else 1 if abs(value) >= 10 else 2
    text = f"{value:,.{digits}f}"
    return f"{text}{'' if not unit or unit in _CLOSE else ' '}{unit}"
