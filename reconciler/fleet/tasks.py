"""The messages between the workflow and its activities; see `messages` for what holds for both."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from reconciler.core.text import one_line
from reconciler.fleet.messages import Counts, Json, Previewed, Span, Speed

#: Seconds without a sign of life after which an activity is given to another worker.
HEARTBEAT_TIMEOUT = 30.0
#: Characters of a key in a summary.
LONGEST_KEY = 60
#: The activities.
BEGIN, CUT, RANGE = "begin_backfill", "cut_into_ranges", "run_range"
JUDGE, END = "judge_missing", "end_backfill"


@dataclass(frozen=True, slots=True)
class Work:
    """What every activity has to know."""

    pass_id: str
    previewed: Previewed
    speed: Speed
    dry_run: bool
    #: As in `State`; not known yet when the backfill begins.
    started_at: str = ""


@dataclass(frozen=True, slots=True)
class Begin:
    """The input of the activity that begins a backfill; it returns the first `State`."""

    work: Work
    asked: Json


@dataclass(frozen=True, slots=True)
class Cut:
    """The input of the activity that cuts spans into this many ranges, at most."""

    work: Work
    spans: Sequence[Span]
    ranges: int


@dataclass(frozen=True, slots=True)
class Pieces:
    """Ranges of about as many rows each, most of them one span; and what is left besides."""

    ranges: Sequence[Sequence[Span]]
    rest: Sequence[Span]


@dataclass(frozen=True, slots=True)
class RangeWork:
    """The input of the activity that runs a range; it returns its `Counts`."""

    work: Work
    spans: Sequence[Span]
    is_second: bool = False
    swept: Json | None = None


@dataclass(frozen=True, slots=True)
class Judging:
    """The input of the activity that decides whether missing rows are held back."""

    work: Work
    totals: Counts


@dataclass(frozen=True, slots=True)
class Judged:
    """What it returns: the totals, corrected by the journal; and whether they are held back."""

    totals: Counts
    tripped: bool


@dataclass(frozen=True, slots=True)
class Ending:
    """The input of the activity that ends a backfill; it returns its `Result`."""

    work: Work
    totals: Counts
    warnings: Sequence[Json] = ()
    #: Whether missing rows are held back.
    tripped: bool = False
    #: Whether the workflow was cancelled; and whether in its second sweep.
    stopped: bool = False
    is_second: bool = False


def range_queue(queue: str) -> str:
    """The task queue of the ranges: a worker takes few of them, and never too few of the rest."""
    return f"{queue}-ranges"


def summary(spans: Sequence[Span]) -> str:
    """What Temporal's UI shows of a range. A key may be a long text."""
    first, last = spans[0], spans[-1]
    after = "" if first.after is None else f"after {one_line(str(first.after), LONGEST_KEY)} "
    return f"keys {after}to {one_line(str(last.until), LONGEST_KEY)}"
