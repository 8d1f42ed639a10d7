"""Catching up with what closed while no process followed the feed."""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta

from benchmarks.feed.daemon import NO_PASSES, running
from benchmarks.feed.scripted_temporal import scripted_temporal
from benchmarks.feed.tables import fill_open, found_by_the_feed, save_marks, until_written
from benchmarks.figures import Figure, Result
from benchmarks.prepared import Prepared
from reconciler.core.model import CloseStatus

#: How long none did; marks that are an hour old are not followed.
DOWN = timedelta(minutes=55)
#: One in ten closings is of a row.
OWN = 10

_METHOD = (
    "The saved marks of the feed are {minutes} minutes old. Since then {closed:,} workflows have "
    "completed, one in {own} of them with a row; the table has {closed:,} running rows. Measured "
    "from the start of the process until the last of these rows is finished, with default "
    "settings, so at 100 calls a second. A poll can list 18,220 closings of a status; after more, "
    "a pass over every row would find them. Temporal is scripted."
)


async def measure(prepared: Prepared) -> Result:
    """Measure the seconds and the calls."""
    closed = prepared.sizes.missed
    url = await prepared.stage.database("catching_up")
    await fill_open(url, closed)
    async with scripted_temporal() as script:
        since = datetime.now(UTC) - DOWN
        await save_marks(url, script.address, dict.fromkeys(CloseStatus, since), DOWN)
        for number in range(1, closed + 1):
            name = "other" if number % OWN else "order"
            at = since + DOWN * number / closed
            script.close(f"{name}-{number}", CloseStatus.COMPLETED, at)
        started, before = time.monotonic(), script.calls
        async with running(url, script.address, **NO_PASSES):
            rows = await until_written(url, closed // OWN)
            seconds = time.monotonic() - started
            calls = script.calls - before
    figures = [
        found_by_the_feed("rows", rows),
        Figure("until the last row is finished", seconds, "s"),
        Figure("rows a second", len(rows) / seconds, ""),
        Figure("lists", calls["ListWorkflowExecutions"], "calls"),
        Figure("describes for a row", calls["DescribeWorkflowExecution"] / len(rows), "calls"),
    ]
    minutes = DOWN // timedelta(minutes=1)
    method = _METHOD.format(minutes=minutes, closed=closed, own=OWN)
    return Result("The feed: after almost an hour", method, figures)
