"""Adds up what ranges have counted. Pure: the workflow calls it, and replays it.

The first look at rows that get a second one is kept apart, as one tally: which of them the second
look finds again decides, as in a pass over all rows, see `core.report.progress`.
"""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import asdict
from datetime import datetime

from pydantic import TypeAdapter

from reconciler.core.report.pass_report import PassReport
from reconciler.core.report.progress import Progress
from reconciler.core.report.progress import Span as Counted
from reconciler.core.report.request import PassRequest
from reconciler.core.report.tally import Tally
from reconciler.core.table_warnings import TableWarning
from reconciler.fleet.messages import Counts, Json, Result, Span
from reconciler.fleet.tasks import Ending

#: Spans for the second look that are kept apart, and characters of their keys: each run of the
#: workflow hands them to the next, and Temporal accepts 2 MB.
MAX_SPANS, MAX_KEYS = 2_000, 250_000

_TALLY, _COUNTED = TypeAdapter(Tally), TypeAdapter(Counted)
_WARNING = TypeAdapter(TableWarning)
_KEYS = {"after", "until"}


class Totals:
    """What was counted so far."""

    def __init__(self, counts: Counts | None = None) -> None:
        counts = counts or no_counts()
        self.done = _TALLY.validate_python(counts.done)
        self.aside = _COUNTED.validate_python({"after": None, "until": 0, **counts.aside})
        self.spans = list(counts.to_recheck)
        self._keys = sum(map(_length, self.spans))
        self.rpcs = Counter(counts.rpcs)
        self.found_in, self.missing_in = set(counts.found_in), set(counts.missing_in)
        self.disagreements, self.ranges = counts.disagreements, counts.ranges

    def add(self, more: Counts, spans: Sequence[Span]) -> None:
        """Add a range of the first sweep; ranges come in the order of their keys.

        `spans`: what it went through. Once there are too many to recheck, everything is rechecked,
        as one span.
        """
        other = self._add_calls(more)
        if len(self.spans) < MAX_SPANS and self._keys < MAX_KEYS:
            self.done.add(other.done)
            self._set_aside(other.spans)
        else:
            other.aside.first.add(other.done)
            self._set_aside(spans)
        self.aside.join(other.aside)

    def add_second(self, more: Counts) -> None:
        """Add a range of the second sweep."""
        self.aside.second.add_ends(self._add_calls(more).done)

    def _add_calls(self, more: Counts) -> Totals:
        other = Totals(more)
        self.rpcs.update(other.rpcs)
        self.found_in |= other.found_in
        self.missing_in |= other.missing_in
        self.disagreements += other.disagreements
        self.ranges += other.ranges
        return other

    def _set_aside(self, spans: Iterable[Span]) -> None:
        for span in spans:
            if self.spans and self.spans[-1].until == span.after:
                last = self.spans.pop()
                self._keys -= _length(last)
                span = Span(last.after, span.until)  # noqa: PLW2901
            self._keys += _length(span)
            self.spans.append(span)

    def as_counts(self) -> Counts:
        """The same as a message."""
        aside = _COUNTED.dump_python(self.aside, mode="json", exclude=_KEYS)
        return Counts(
            done=_TALLY.dump_python(self.done, mode="json"),
            to_recheck=tuple(self.spans),
            aside=aside if self.aside.first.scanned else {},
            rpcs=dict(self.rpcs),
            found_in=sorted(self.found_in),
            missing_in=sorted(self.missing_in),
            disagreements=self.disagreements,
            ranges=self.ranges,
        )

    def as_report(self, pass_id: str, request: PassRequest, started_at: datetime) -> PassReport:
        """The report of a pass that has counted this."""
        report = PassReport(pass_id, request, started_at, done=self.done, rpcs=self.rpcs)
        report.found_in, report.missing_in = self.found_in, self.missing_in
        report.disagreements = self.disagreements
        report.progress = Progress(to_recheck=[self.aside] if self.aside.first.scanned else [])
        return report


def _length(span: Span) -> int:
    return len(str(span.after)) + len(str(span.until))


def no_counts() -> Counts:
    """Those of no range."""
    return Counts(_TALLY.dump_python(Tally(), mode="json"))


def rows_in(counts: Counts) -> int:
    """The number of rows that were looked at; cheap, as it is wanted after every range."""
    looks = counts.done, counts.aside.get("first", {})
    return sum(int(each.get("scanned", 0)) for each in looks)


def counts_of(report: PassReport, spans: Sequence[Span], ranges: int = 1) -> Counts:
    """What a pass has counted; `spans`: those that it leaves for a second look."""
    totals = Totals()
    totals.done, totals.rpcs, totals.ranges = report.done, report.rpcs, ranges
    totals.found_in, totals.missing_in = report.found_in, report.missing_in
    totals.disagreements, totals.spans = report.disagreements, list(spans)
    for span in report.progress.to_recheck if report.progress else ():
        totals.aside.join(span)
        totals.aside.second.add_ends(span.second)
    return totals.as_counts()


def warnings_to_json(warnings: Iterable[TableWarning]) -> Sequence[Json]:
    """Warnings as a message has them."""
    return [asdict(each) for each in warnings]


def warnings_from_json(warnings: Iterable[Json]) -> Sequence[TableWarning]:
    """And back."""
    return [_WARNING.validate_python(each) for each in warnings]


def report_of(
    result: Result, pass_id: str, request: PassRequest, started_at: datetime
) -> PassReport:
    """The report of a backfill that has ended, for those who print it."""
    report = Totals(result.totals).as_report(pass_id, request, started_at)
    report.error, report.held_back = result.error, result.held_back
    report.stopped = result.stopped
    report.duration_seconds = result.report["duration_seconds"]
    report.warnings = warnings_from_json(result.warnings)
    report.ended = True
    return report


def conclude(report: PassReport, ending: Ending, failed: str) -> None:
    """Do at the end of a backfill what a pass does at its own; `failed`: the status."""
    if ending.stopped:
        report.stop()
    elif ending.tripped:
        report.hold_back()
    elif ending.work.dry_run:
        report.would_fail(failed, sys.maxsize)
    elif ending.is_second:
        report.end_span()
