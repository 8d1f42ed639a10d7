"""The steady state: nearly every workflow is open, as in the last pass."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from statistics import median
from typing import Any

from benchmarks import passes
from benchmarks.ceiling import list_all
from benchmarks.figures import Figure, Result, at_least, at_most
from benchmarks.prepared import Prepared
from benchmarks.sizes import Sizes
from benchmarks.stage import Stage, fill, set_running
from benchmarks.workflows import end, make_open
from reconciler.app.app import App
from reconciler.core.report.pass_report import RPC_KINDS, PassReport

#: The default of RECONCILER_FULL_SWEEP_INTERVAL, and the value that describes every row.
SWEEP = timedelta(minutes=10)
_EVERY = {"full_sweep_interval": timedelta(0)}
_NO_LIMITS = {"max_rps": 0, "visibility_rps": 0}
#: Shares of rows whose workflows have ended since the last pass, in thousandths.
SHARES = (0, 5, 50)

_METHOD = (
    "{rows:,} rows of open workflows. The share named has ended since the last pass, a quarter of "
    "these as failed. Passes of `once`, and of `run` without a feed: *screened* is one with "
    "`RECONCILER_FULL_SWEEP_INTERVAL` at its default (10 min), *every row* one with 0, which "
    "describes each row; both without rate limits, in turn. *Allowed* calls: a List per 500 rows, "
    "three per ended row, and the share of the full sweep that is due by the time since the last "
    "pass. With the default limits (`MAX_RPS=100`, "
    "`VISIBILITY_RPS=5`) there are {limited:,} rows, since the limit alone makes each describe "
    "take a hundredth of a second. *Bare lists* are the list calls and nothing else: a screened "
    "pass without limits cannot take less. The server is the bottleneck: here it took 0.13 to "
    "0.18 ms for each open workflow that a list returns, 0.01 to 0.04 ms for one that it looks up "
    "and does not return, and 0.6 ms on both cores for a describe."
)


@dataclass(slots=True)
class _Measured:
    """Measurements of passes of one kind."""

    seconds: list[float] = field(default_factory=list)
    calls: list[int] = field(default_factory=list)
    #: Calls that the goal allows in each pass.
    allowed: list[float] = field(default_factory=list)

    def add(self, report: PassReport, allowed: float = 0) -> None:
        self.seconds.append(report.duration_seconds)
        self.calls.append(sum(report.rpcs[kind] for kind in RPC_KINDS))
        self.allowed.append(allowed)


class _Passes:
    """Passes of one app; the calls allowed depend on the time since the last one."""

    def __init__(self, app: App, url: str, rows: int) -> None:
        self._app, self._url, self._rows = app, url, rows
        self._began = 0.0

    async def run(self, closed: int, into: _Measured | None = None) -> PassReport:
        """Run a pass, in which `closed` rows must be finished."""
        await set_running(self._url)
        # The share of the sweep depends on the time between the starts of passes.
        since = time.monotonic() - self._began
        self._began = time.monotonic()
        report = await passes.once(self._app, "run")
        assert report.changed == closed, f"{report.changed} of {closed} rows were finished"
        if into is not None:
            lists = math.ceil(self._rows / 500)
            into.add(report, lists + 3 * closed + self._sweep_share(since, report))
        return report

    def _sweep_share(self, since: float, report: PassReport) -> float:
        elapsed = since + report.duration_seconds
        interval = SWEEP.total_seconds()
        return self._rows * min(1.0, elapsed / max(interval - elapsed, 1))


async def measure(prepared: Prepared) -> Result:
    """Compare calls and time of screened passes with those of passes that describe every row."""
    stage, sizes = prepared.stage, prepared.sizes
    figures = [*await _unlimited(stage, sizes), *await _limited(stage, sizes)]
    method = _METHOD.format(rows=sizes.open, limited=sizes.limited)
    return Result("Rows that are open: the steady state", method, figures)


async def _unlimited(stage: Stage, sizes: Sizes) -> Sequence[Figure]:
    url, rows = await stage.database("steady"), sizes.open
    ending = [rows * share // 1000 for share in SHARES]
    steps = [after - before for before, after in zip([0, *ending], ending, strict=False)]
    runs = list(await make_open(stage.temporal, rows - ending[-1], "stays"))
    for number, step in enumerate(steps):
        runs += await make_open(stage.temporal, step, f"ends-{number}")
    runs.sort(key=lambda run: run.workflow_id)  # spread those that end over the table
    await fill(url, runs)
    figures: list[Figure] = []
    reference = _Measured()
    opened = passes.opened(url, **_NO_LIMITS), passes.opened(url, **_NO_LIMITS, **_EVERY)
    async with opened[0] as screening, opened[1] as describing:
        screened = _Passes(screening, url, rows)
        every = _Passes(describing, url, rows)
        await screened.run(0)  # the first pass of a scope describes every row
        for number, (share, closed) in enumerate(zip(SHARES, ending, strict=True)):
            await end(stage.temporal, f"ends-{number}", steps[number])
            ours, reference = _Measured(), _Measured()
            for _ in range(3 if share == 5 else 1):
                await every.run(closed, reference)
                await screened.run(closed)  # so that little of the sweep is due in the next one
                await screened.run(closed, ours)
                await screened.run(closed, ours)
            figures += _compared(f"{share / 10:g} % ended", ours, reference, goal=share == 5)
        lists = median([await list_all(stage.temporal, runs) for _ in range(3)])
        every_row = median(reference.seconds)
        bare = Figure("bare lists", lists, "s", every_row / lists, "as fast as every row")
    return [*figures, bare]


async def _limited(stage: Stage, sizes: Sizes) -> Sequence[Figure]:
    url, rows = await stage.database("limited"), sizes.limited
    closed = rows * 5 // 1000
    runs = list(await make_open(stage.temporal, rows - closed, "stays"))
    await fill(url, [*runs, *await make_open(stage.temporal, closed, "ends-limited")])
    ours, reference = _Measured(), _Measured()
    async with passes.opened(url) as app:
        screened = _Passes(app, url, rows)
        await screened.run(0, reference)  # the first pass of a scope describes every row
        await end(stage.temporal, "ends-limited", closed)
        for _ in range(3):
            await screened.run(closed, ours)
    return _compared("0.5 % ended, default limits", ours, reference, goal=True)


def _compared(name: str, ours: _Measured, reference: _Measured, *, goal: bool) -> Sequence[Figure]:
    seconds, every = median(ours.seconds), median(reference.seconds)
    calls, allowed = median(ours.calls), median(ours.allowed)
    faster: dict[str, Any] = {"goal": at_least(10, "×")} if goal else {}
    return [
        Figure(f"{name}: every row", every, "s"),
        Figure(
            f"{name}: screened", seconds, "s", every / seconds, "as fast as every row", **faster
        ),
        Figure(f"{name}: every row, calls", median(reference.calls), "calls"),
        Figure(
            f"{name}: screened, calls",
            calls,
            "calls",
            calls / allowed,
            f"of the {allowed:,.0f} allowed",
            at_most(1, "×"),
        ),
    ]
