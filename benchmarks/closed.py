"""Rows whose workflows have ended: the naive loop, raw calls, `once`, and a backfill."""

from __future__ import annotations

import time
from collections.abc import Sequence
from statistics import median

from benchmarks import passes
from benchmarks.application import application_engine, naive_loop
from benchmarks.ceiling import CONCURRENCIES, describe_all
from benchmarks.figures import Figure, Result, at_least
from benchmarks.prepared import Prepared
from benchmarks.stage import fill, set_running

_ONCE = (
    "{rows:,} rows of completed workflows. *Bare describes* are raw calls and nothing else, at the "
    "concurrency that was fastest in this run ({concurrency}; tried: {tried}). *`once`* is a pass "
    "with default settings except `RECONCILER_MAX_RPS=0` and the same concurrency: it reads the "
    "rows, asks Temporal, decides, writes rows and journal, and logs each row. The *naive loop* "
    "describes {naive:,} of the rows one after the other through the SDK's handle and commits each "
    "with the ORM. Ratios are medians of {rounds} pairs, measured in turn."
)
_BACKFILL = (
    "{rows:,} rows. Every second workflow has failed, and reading its failure from the close event "
    "takes a second call. `backfill --apply --restart` with `RECONCILER_MAX_RPS=0` and the same "
    "concurrency ({concurrency}) is compared with the same calls bare. After each write a backfill "
    "pauses for as long as the write took."
)


async def measure_once(prepared: Prepared) -> Result:
    """Compare `once` and the naive loop with the ceiling."""
    stage, sizes, runs = prepared.stage, prepared.sizes, prepared.completed
    concurrency = prepared.ceiling.concurrency
    url = await stage.database("once")
    await fill(url, runs)
    bare: list[float] = []
    once: list[float] = []
    naive: list[float] = []
    async with (
        passes.opened(url, max_rps=0, concurrency=concurrency) as app,
        application_engine(url) as engine,
    ):
        await passes.once(app)  # warm up
        for _ in range(sizes.rounds):
            bare.append(len(runs) / await describe_all(stage.temporal, runs, concurrency))
            await set_running(url)
            report = await passes.once(app)
            assert report.changed == len(runs)
            once.append(len(runs) / report.duration_seconds)
            await set_running(url)
            started = time.perf_counter()
            await naive_loop(engine, stage.temporal, sizes.naive)
            naive.append(sizes.naive / (time.perf_counter() - started))
    method = _ONCE.format(
        rows=len(runs),
        naive=sizes.naive,
        rounds=sizes.rounds,
        concurrency=concurrency,
        tried=", ".join(map(str, CONCURRENCIES)),
    )
    return Result(
        "Rows that have ended: `once`",
        method,
        [
            Figure("naive loop", median(naive), "rows/s"),
            Figure(
                "bare describes", median(bare), "rows/s", paired(bare, naive), "of the naive loop"
            ),
            Figure(
                "`once`",
                median(once),
                "rows/s",
                paired(once, bare),
                "of bare describes",
                at_least(0.9, "×"),
            ),
        ],
    )


async def measure_backfill(prepared: Prepared) -> Result:
    """Compare a backfill with the same calls bare; every second run has failed."""
    stage, runs = prepared.stage, prepared.half_failed
    concurrency = prepared.ceiling.concurrency
    url = await stage.database("backfill")
    await fill(url, runs)
    bare: list[float] = []
    ours: list[float] = []
    for _ in range(prepared.sizes.rounds):
        bare.append(len(runs) / await describe_all(stage.temporal, runs, concurrency))
        report = await passes.backfill(url, max_rps=0, concurrency=concurrency)
        assert report.changed == len(runs)
        ours.append(len(runs) / report.duration_seconds)
        await set_running(url)
    compared = "of bare calls"
    return Result(
        "Half of the rows failed: `backfill`",
        _BACKFILL.format(rows=len(runs), concurrency=concurrency),
        [
            Figure("bare describes and close events", median(bare), "rows/s"),
            Figure(
                "`backfill`",
                median(ours),
                "rows/s",
                paired(ours, bare),
                compared,
                at_least(0.8, "×"),
            ),
        ],
    )


def paired(these: Sequence[float], those: Sequence[float]) -> float:
    """The median ratio of values that were measured in pairs."""
    return median(this / that for this, that in zip(these, those, strict=True))
