"""Many closings: own ones beside those of other applications in the same namespace."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator, Sequence
from contextlib import AsyncExitStack
from datetime import UTC, datetime, timedelta

from benchmarks.feed.daemon import NO_PASSES, running
from benchmarks.feed.scripted_temporal import ScriptedTemporal, scripted_temporal
from benchmarks.feed.tables import (
    Written,
    fill_open,
    found_by_the_feed,
    percentile,
    save_marks,
    until_written,
)
from benchmarks.figures import Figure, Result, at_most
from benchmarks.prepared import Prepared
from reconciler.core.model import CloseStatus

INTERVALS = ("1s", "5s")
#: Closings a second.
OWN, OTHERS = 50, 200
#: How many times a second they come.
TIMES = 10
#: Every fourth of the own ones has failed.
FAILED = 4
#: For each poll, and for each row.
ALLOWED = 10, 2.2

_METHOD = (
    "For {seconds} s, {own} workflows of rows close every second, every fourth as failed, and "
    "{others} that have none, as completed. A dev server closes fewer, so Temporal is scripted, "
    "and shows each closing at once. `reconciler run` follows them with "
    "`RECONCILER_FEED_INTERVAL` at 1 s and, in another process with a Temporal and a table of its "
    "own, at 5 s, at the same time. All limits have their defaults: 100 calls a second, of which "
    "5 lists, so a poll takes more than a second. A failed row takes a second call, for its text. "
    "*Time* is from the close time to the beginning of the transaction that finishes the row. "
    "*Allowed* calls: 10 for each poll and 2.2 for each row."
)


async def measure(prepared: Prepared) -> Result:
    """Measure the time until rows are finished, and the calls, at two intervals."""
    seconds, figures = prepared.sizes.load_seconds, list[Figure]()
    rows = OWN * seconds
    async with AsyncExitStack() as stack:
        urls = {each: await prepared.stage.database(f"load_{each}") for each in INTERVALS}
        scripts: list[ScriptedTemporal] = []
        for interval, url in urls.items():
            await fill_open(url, rows)
            script = await stack.enter_async_context(scripted_temporal())
            await save_marks(url, script.address, dict.fromkeys(CloseStatus, datetime.now(UTC)))
            settings = {"FEED_INTERVAL": interval, **NO_PASSES}
            daemon = await stack.enter_async_context(running(url, script.address, **settings))
            await daemon.has_passed()
            scripts.append(script)
        before = [(script.calls.total(), script.polls) for script in scripts]
        await _close(scripts, seconds)
        for then, (interval, url), script in zip(before, urls.items(), scripts, strict=True):
            written = await until_written(url, rows)
            spent, polls = script.calls.total() - then[0], script.polls - then[1]
            figures += _figures(f"at {interval}", written, spent, polls)
    method = _METHOD.format(seconds=seconds, own=OWN, others=OTHERS)
    return Result("The feed: 250 closings a second", method, figures)


async def _close(scripts: Sequence[ScriptedTemporal], seconds: int) -> None:
    """Close workflows at an even rate, each of them in every script."""
    began, own = time.monotonic(), 0
    for turn in range(seconds * TIMES):
        now = datetime.now(UTC)
        for number in range((OWN + OTHERS) // TIMES):
            workflow_id, status = f"other-{turn}-{number}", CloseStatus.COMPLETED
            if number % ((OWN + OTHERS) // OWN) == 0:
                own += 1
                workflow_id = f"order-{own}"
                status = CloseStatus.COMPLETED if own % FAILED else CloseStatus.FAILED
            for script in scripts:
                script.close(workflow_id, status, now + timedelta(microseconds=number))
        await asyncio.sleep(max(began + (turn + 1) / TIMES - time.monotonic(), 0))


def _figures(at: str, rows: Sequence[Written], calls: int, polls: int) -> Iterator[Figure]:
    seconds = [row.seconds for row in rows]
    allowed = ALLOWED[0] * polls + ALLOWED[1] * len(rows)
    compared = f"of the {allowed:,.0f} allowed"
    yield found_by_the_feed(at, rows)
    yield Figure(f"{at}: median", percentile(seconds, 50), "s")
    yield Figure(f"{at}: 99th percentile", percentile(seconds, 99), "s")
    yield Figure(f"{at}: polls", polls, "")
    yield Figure(f"{at}: calls", calls, "calls", calls / allowed, compared, at_most(1, "×"))
    yield Figure(f"{at}: calls for a row", calls / len(rows), "calls")
