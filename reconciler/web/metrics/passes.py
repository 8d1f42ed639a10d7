"""Metrics of passes, collected by an observer."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

from reconciler.core.missed_writes import FOUND_BY, is_missed
from reconciler.core.model import MISSING_REASONS, LeaveReason, Mode, Outcome
from reconciler.core.observer import Observer, PassView
from reconciler.core.report.pass_report import PassOutcome
from reconciler.core.report.sweep import Round
from reconciler.core.report.tally import Tally
from reconciler.core.text import visible
from reconciler.web.metrics.gauges import gauge

#: Workflow types with a series of their own, so that an application that generates types does not
#: overload Prometheus.
MAX_WORKFLOW_TYPES = 100
OTHER_TYPES = "other"

_DURATIONS = (0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300, 600, 1800)
_AGES = (1, 2.5, 5, 10, 30, 60, 120, 300, 900, 3600, 21600, 86400, 604800)


class PassMetrics(Observer):
    """Counts passes and their rows."""

    def __init__(
        self,
        registry: CollectorRegistry,
        mode: str,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        """The series of `mode` exist from the start, at zero, so that a first failure shows."""
        self._mode, self._clock = mode, clock
        #: The id of the pass of this mode that has begun and is not counted yet.
        self.unfinished: str | None = None
        self._types: set[str] = set()
        make: dict[str, Any] = {"namespace": "reconciler", "registry": registry}
        self._passes = Counter("passes", "Passes that ended.", ["mode", "outcome"], **make)
        self._duration = Histogram(
            "pass_duration_seconds", "How long passes took.", ["mode"], buckets=_DURATIONS, **make
        )
        self._overruns = Counter("pass_overruns", "Passes longer than the interval.", **make)
        self._scanned = Counter("rows_scanned", "Rows a pass looked at.", **make)
        written = "Rows finished, by the status written."
        self._written = Counter("rows_written", written, ["status", "workflow_type"], **make)
        left = "Rows left as they were, again in each pass, by reason."
        self._left = Counter("rows_left", left, ["reason"], **make)
        screened = "Rows left without a description, as visibility shows them open."
        self._screened = Counter("rows_screened", screened, **make)
        wrong = "Rows that were open although visibility did not show them so."
        self._disagreements = Counter("screening_disagreements", wrong, **make)
        lost = "Rows that somebody else finished, or was writing, meanwhile."
        self._lost_races = Counter("lost_races", lost, **make)
        found = "Rows finished because their workflow had closed, by how they were found."
        self._found = Counter("found", found, ["by"], **make)
        missed = "Rows that the main path should have written, by Temporal's close status."
        self._missed = Counter("missed_writes", missed, ["workflow_type", "status"], **make)
        drift = "From the close of a workflow to the write of its row."
        self._drift = Histogram("drift_age_seconds", drift, buckets=_AGES, **make)
        missing = "Rows whose workflow Temporal does not know, in the last complete pass or round."
        self._missing = Gauge("missing_rows", missing, ["reason"], **make)
        #: The rows of the round so far.
        self._summed = Tally()
        self._running = _Running(clock)
        registry.register(self._running)
        self._begin_at_zero()

    def _begin_at_zero(self) -> None:
        for mode in (self._mode, Mode.FEED):
            self._duration.labels(mode)
            for outcome in PassOutcome:
                self._passes.labels(mode, outcome.value)
        for by in FOUND_BY:
            self._found.labels(by)
        for reason in LeaveReason:
            self._left.labels(reason.value)

    async def on_start(self, report: PassView) -> None:
        """Remember the pass."""
        if report.request.mode == self._mode:
            self.unfinished = report.pass_id

    async def on_written(self, report: PassView, outcomes: Sequence[Outcome]) -> None:
        """Count finished rows, and how late they are."""
        for outcome in outcomes:
            workflow_type = self._bounded(outcome.workflow_type)
            self._written.labels(outcome.status, workflow_type).inc()
            drift = None
            if outcome.completed_at is not None:
                # The clock of Temporal may be ahead.
                drift = max(self._clock() - outcome.completed_at, timedelta())
                self._drift.observe(drift.total_seconds())
                self._found.labels(report.request.found_by).inc()
            if is_missed(outcome.temporal_status, report.request.found_by, drift):
                self._missed.labels(workflow_type, outcome.temporal_status).inc()

    async def on_pass(self, report: PassView) -> None:
        """Count the pass. Only passes, or rounds of them, that saw every row set the gauges."""
        mode, tally = report.request.mode, report.tally
        self._passes.labels(mode, report.outcome.value).inc()
        self._duration.labels(mode).observe(report.duration_seconds)
        self._scanned.inc(tally.scanned)
        self._lost_races.inc(tally.lost_races)
        self._screened.inc(tally.screened)
        self._disagreements.inc(report.disagreements)
        for reason, count in tally.left.items():
            self._left.labels(reason.value).inc(count)
        if mode != self._mode:
            return
        if report.outcome is not PassOutcome.ABORTED:
            self._set_gauges(report.round, tally)
        self.unfinished = None

    def _set_gauges(self, round_: Round | None, tally: Tally) -> None:
        self._running.round_seconds = round_.seconds if round_ else None
        if round_ and round_.stretch_only:
            if round_.began:
                self._summed = Tally()
            self._summed.add(tally)
            # Another replica, or command, may have described a part of the round.
            if not round_.ended or self._summed.scanned != round_.described:
                return
            tally = self._summed
        self._running.rows, self._running.oldest = tally.left.total(), tally.oldest_left
        self._running.unresolved = tally.left[LeaveReason.UNKNOWN]
        for reason in MISSING_REASONS:
            self._missing.labels(reason.value).set(tally.left[reason])

    def overrun(self) -> None:
        """Count a pass that took longer than the interval."""
        self._overruns.inc()

    def crash(self, mode: str | None = None) -> None:
        """Count a pass, or a poll of the feed, that a bug ended without a report."""
        self._passes.labels(mode or self._mode, PassOutcome.ABORTED.value).inc()

    def forget(self) -> None:
        """Clear the gauges: passes fail now, or another replica runs them."""
        self._running.forget()
        self._summed = Tally()
        self._missing.clear()

    def _bounded(self, workflow_type: str) -> str:
        name = visible(workflow_type) or "unknown"
        if name not in self._types:
            if len(self._types) >= MAX_WORKFLOW_TYPES:
                return OTHER_TYPES
            self._types.add(name)
        return name


class _Running(Collector):
    """Rows still marked running; no series before the first complete pass or round."""

    def __init__(self, clock: Callable[[], datetime]) -> None:
        self._clock = clock
        self.forget()

    def forget(self) -> None:
        """No values."""
        self.rows: int | None = None
        self.unresolved: int | None = None
        self.oldest: datetime | None = None
        self.round_seconds: float | None = None

    def collect(self) -> Iterator[GaugeMetricFamily]:
        """The gauges; the age is as of now."""
        yield gauge(
            "reconciler_running_rows",
            "Rows still marked running after the last complete pass or round.",
            self.rows,
        )
        yield gauge(
            "reconciler_unresolved_rows",
            "Those that could not be judged, or that the database refused to write.",
            self.unresolved,
        )
        yield gauge(
            "reconciler_oldest_running_row_age_seconds",
            "Since the oldest row still marked running was created.",
            None if self.oldest is None else self._clock() - self.oldest,
        )
        yield gauge(
            "reconciler_sweep_round_seconds",
            "How long a round of the sweep takes at most, as the limits allow.",
            self.round_seconds,
        )
