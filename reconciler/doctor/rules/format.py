"""How the doctor puts lengths of time, and numbers of rows."""

from __future__ import annotations

from datetime import timedelta

_UNITS = (("d", 86_400.0), ("h", 3_600.0), ("min", 60.0))
#: From here on a number is told without decimals.
_WHOLE = 100


def span(duration: timedelta) -> str:
    """A length of time in a unit that suits it, e.g. "2.5 d", "90 s", "0.4 ms"; without a sign."""
    seconds = abs(duration.total_seconds())
    for unit, length in _UNITS:
        if seconds >= 2 * length:
            return f"{_number(seconds / length)} {unit}"
    if seconds >= 1 or not seconds:
        return f"{_number(seconds)} s"
    return f"{_number(seconds * 1000)} ms"


def rows(count: int) -> str:
    """So many running rows."""
    return f"{count} running row{'' if count == 1 else 's'}"


def _number(value: float) -> str:
    return f"{value:.0f}" if value >= _WHOLE else f"{value:.3g}"
