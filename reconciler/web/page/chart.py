"""The bars of 24 hours: where each lies, and the same in words."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from reconciler.app.overview.model import Hour, Repaired
from reconciler.core.text import plural

#: In units of the drawing: its height, from one bar to the next, and a bar.
HEIGHT = 96
STEP, BAR = 20, 15
#: As many statuses have a look of their own; the rest share the last one.
LOOKS = 6
#: Numbers from here on are rounded beside the bars.
_EXACT = 10_000
#: From here on, also thousands have more than three digits.
_A_MILLION = 999_500


@dataclass(frozen=True, slots=True)
class Layer:
    """The bars of one status, in all hours."""

    status: str
    rows: int
    #: Its look, from 0.
    look: int
    #: The data of an SVG path.
    path: str


@dataclass(frozen=True, slots=True)
class Line:
    """A line of the grid between the bottom and the top."""

    y: float
    rows: int


@dataclass(frozen=True, slots=True)
class Mark:
    """A text below the bars."""

    x: int
    text: str


@dataclass(frozen=True, slots=True)
class Chart:
    """Stacked bars, and what they show."""

    layers: Sequence[Layer]
    hours: Sequence[Hour]
    #: The most rows of an hour: the height of the drawing.
    top: int
    #: What the bars show, for those who do not see them.
    summary: str

    @property
    def lines(self) -> Sequence[Line]:
        """The middle of the grid, at a whole number of rows; none if there is no room for it."""
        half = self.top // 2
        return [Line(_y(half, self.top), half)] if half else []

    def marks(self, now: datetime) -> Sequence[Mark]:
        """Every sixth hour and the last; the first says that it is of yesterday, and in UTC."""
        marks = [
            Mark(number * STEP + BAR // 2, f"{hour.begins_at:%H:%M}")
            for number, hour in enumerate(self.hours)
            if number % 6 == 0
        ]
        first = self.hours[0].begins_at
        day = "" if first.date() == now.astimezone(UTC).date() else "yesterday "
        marks[0] = Mark(0, f"{day}{first:%H:%M}Z")
        return [*marks, Mark((len(self.hours) - 1) * STEP + BAR // 2, "now")]


def chart(repaired: Repaired) -> Chart:
    """The bars of these hours; the statuses are stacked in their order, from the bottom."""
    totals = [sum(hour.rows.values()) for hour in repaired.hours]
    top = max(totals, default=0)
    below = [0] * len(repaired.hours)
    layers = []
    for look, status in enumerate(repaired.statuses):
        counts = [hour.rows.get(status, 0) for hour in repaired.hours]
        if not any(counts):
            continue
        path = "".join(_bars(below, counts, top))
        layers.append(Layer(status, sum(counts), min(look, LOOKS - 1), path))
        below = [low + count for low, count in zip(below, counts, strict=True)]
    return Chart(layers, repaired.hours, top, _summary(layers, repaired.hours, totals))


def _bars(below: Sequence[int], counts: Sequence[int], top: int) -> Sequence[str]:
    return [
        f"M{number * STEP} {_y(low, top):g}h{BAR}V{_y(low + count, top):g}h-{BAR}z"
        for number, (low, count) in enumerate(zip(below, counts, strict=True))
        if count
    ]


def _y(rows: int, top: int) -> float:
    return round(HEIGHT - HEIGHT * rows / top, 1)


def _summary(layers: Sequence[Layer], hours: Sequence[Hour], totals: Sequence[int]) -> str:
    rows = plural(sum(totals), "row")
    counts = ", ".join(f"{layer.rows:,} {layer.status}" for layer in layers)
    if not counts:
        return f"{rows} repaired in 24 hours."
    most = max(range(len(totals)), key=totals.__getitem__)
    begins: datetime = hours[most].begins_at
    return f"{rows} repaired in 24 hours: {counts}. Most from {begins:%H:%M}: {totals[most]:,}."


def counted(rows: Mapping[str, int], order: Sequence[str]) -> str:
    """The rows of an hour by status, in this order, in words."""
    return ", ".join(f"{rows[status]:,} {status}" for status in order if rows.get(status))


def brief(rows: int) -> str:
    """A number for which there is room beside the bars: `9,999`, `12.2k`, `1.05M`."""
    if rows < _EXACT:
        return f"{rows:,}"
    unit, size = ("k", 1_000) if rows < _A_MILLION else ("M", 1_000_000)
    return f"{rows / size:.3g}{unit}"
