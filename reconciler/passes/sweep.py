"""Which rows a pass reads, and which of them it describes whatever visibility says.

```
in doubt      ├───────────────── described ─────────────────┤   also if every row has to be
whole pass    ├─ screened ─┼─ stretch: described ─┼ screened ┤
stretch only               ├─ stretch: described ─┤
```
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import datetime

from reconciler.core.model import Mode, RowId
from reconciler.core.policy import MissingPolicy, Policy
from reconciler.core.ports import Store
from reconciler.core.report.pass_report import PassReport
from reconciler.core.report.progress import Span
from reconciler.core.report.request import PassOptions
from reconciler.core.report.sweep import Rest, Round, Swept, Turn, next_turn


@dataclass(frozen=True, slots=True)
class Part:
    """Rows that a pass treats alike."""

    span: Span
    is_screened: bool


@dataclass(frozen=True, slots=True)
class Stretch:
    """The next rows of a round, and what is left of it then."""

    turn: Turn
    is_first: bool
    #: The rows, unless none are due; and those of the round after them.
    due: Rest | None
    rest: Rest | None
    #: Rows of the round that were described before this pass.
    described: int
    #: Rows of the round, as far as known.
    rows: int
    #: The fraction of a row that is due besides.
    owed: float = 0.0


@dataclass(frozen=True, slots=True)
class Course:
    """What a pass goes through, in the order of the keys."""

    parts: tuple[Part, ...]
    #: None if every row is described, or the pass is no part of the sweep.
    stretch: Stretch | None = None

    @property
    def whole(self) -> Span | None:
        """From its first row to its last."""
        if not self.parts:
            return None
        return Span(self.parts[0].span.after, self.parts[-1].span.until)


async def set_course(
    store: Store,
    policy: Policy,
    swept: Swept | None,
    now: datetime,
    options: PassOptions,
    report: PassReport,
) -> Course:
    """The course of a pass, given the state of the sweep as recorded. Raises `Unusable`."""
    interval = options.full_sweep_interval
    sweeps = Mode(report.request.mode).is_whole
    only = options.stretch_only
    # With MISSING=fail the breaker has to see every row: visibility has a store of its own, and
    # keeps showing as open what Temporal has lost.
    fails = policy.missing is MissingPolicy.FAIL
    described = not only and (fails or not next_turn(swept, now, interval).is_certain)
    if described or not sweeps:
        return await _over_all(store, report, is_screened=not described)
    stretch, last = await _next_stretch(store, swept, now, options, only=only)
    parts = _only(stretch) if only else _with_the_others(stretch, last)
    return Course(tuple(parts), stretch)


async def _over_all(store: Store, report: PassReport, *, is_screened: bool) -> Course:
    if report.progress is not None:
        rest = report.progress.rest
    else:
        last = await store.last_running()
        rest = None if last is None else Span(None, last)
    return Course((Part(rest, is_screened),) if rest else ())


async def _next_stretch(
    store: Store, swept: Swept | None, now: datetime, options: PassOptions, *, only: bool
) -> tuple[Stretch, RowId | None]:
    """The stretch that is due, and the last running row if it matters."""
    rest = await store.read_rest(swept.rest) if swept and swept.rest else None
    if swept and rest is None:
        swept = replace(swept, rest=None, described=0, round_began=_next_began(swept))
    last = None if only and rest else await store.last_running()
    is_first = rest is None
    if rest is None and last is not None:
        rest = Rest(None, last)
    turn = next_turn(swept, now, options.full_sweep_interval)
    described, known = (swept.described, swept.rows) if swept else (0, 0)
    if rest is None:
        return Stretch(turn, is_first, None, None, described, described), last
    countable = turn.countable(options.sweep_rps)
    left = (await store.reach(rest.after, rest.until, countable)).rows
    quota, owed = turn.quota(left, options.sweep_rps)
    rows = described + left
    if left == countable:
        rows = max(rows, known)
    elif quota == left:
        return Stretch(turn, is_first, rest if left else None, None, described, rows), last
    due, rest = await _divide(store, rest, quota)
    return Stretch(turn, is_first, due, rest, described, rows, owed), last


def _next_began(swept: Swept) -> datetime:
    """When the next round begins; now that its own state cannot be read, with the last pass."""
    return swept.began if swept.rest else swept.round_began


async def _divide(store: Store, rest: Rest, quota: int) -> tuple[Rest | None, Rest | None]:
    """The first rows of a round's rest, and the others."""
    if not quota:
        return None, rest
    reached = await store.reach(rest.after, rest.until, quota)
    if reached.rows < quota or reached.last is None:  # some have ended since they were counted
        return rest, None
    return Rest(rest.after, reached.last), Rest(reached.last, rest.until)


def _only(stretch: Stretch) -> Iterator[Part]:
    if stretch.due is not None:
        yield Part(Span(stretch.due.after, stretch.due.until), is_screened=False)


def _with_the_others(stretch: Stretch, last: RowId | None) -> Iterator[Part]:
    """The stretch, and the rows before and after it."""
    if last is None:
        return
    due = stretch.due or stretch.rest
    start = due.after if due else None
    if start is not None:
        yield Part(Span(None, start), is_screened=True)
    yield from _only(stretch)
    end = stretch.due.until if stretch.due else start
    if end != last:
        yield Part(Span(end, last), is_screened=True)


def record_sweep(
    report: PassReport, course: Course, options: PassOptions, now: datetime, described: int
) -> None:
    """Note in the report of a complete pass what it has swept; `described`: rows of its stretch."""
    scanned = report.tally.scanned
    interval = options.full_sweep_interval.total_seconds()
    stretch = course.stretch
    if stretch is None:
        if Mode(report.request.mode).is_whole:
            report.swept = Swept(now, now, rows=scanned)
            report.round = Round(scanned, scanned, interval, began=True, ended=True)
        return
    described += stretch.described
    ended = stretch.rest is None
    rows = described if ended else max(stretch.rows, described)
    began = stretch.turn.next_round(now) if ended else stretch.turn.round_began
    so_far = (0, rows) if ended else (described, rows, stretch.owed)
    report.swept = Swept(now, began, stretch.rest, *so_far)
    seconds = max(interval, rows / options.sweep_rps)
    only = options.stretch_only
    report.round = Round(rows, described, seconds, stretch.is_first, ended, stretch_only=only)
