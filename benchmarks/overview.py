"""The page of `run`: how long the first screen takes, how large it is, what its statements read."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager
from datetime import timedelta
from statistics import median, quantiles
from typing import Any

import asyncpg
import httpx
from prometheus_client import CollectorRegistry

from benchmarks.figures import Figure, Result, at_most
from benchmarks.prepared import Prepared
from benchmarks.stage import settings_for
from benchmarks.statements import FRAME, Statement, watched
from reconciler.app.lease import LeaseKeeper
from reconciler.app.wiring import open_app
from reconciler.core.model import Mode
from reconciler.daemon.feed_loop import FeedLoop
from reconciler.daemon.health import Health
from reconciler.daemon.page import open_page
from reconciler.daemon.page_source import LoopPage
from reconciler.daemon.schedule import Every
from reconciler.settings.model import Settings
from reconciler.web.metrics.passes import PassMetrics

#: Of the journal's entries, those of the last 24 hours; of the rows, those that are stuck.
TODAY, STUCK = 0.1, 0.05
#: First views of a process, and views of one that is watched.
FIRST, VIEWS = 5, 200
#: Seconds between two views.
PAUSE = 0.1
#: What must be read by an index: rows, the journal, the history.
LARGE = ("workflow_executions", "changes", "passes")
MOST_MS, MOST_KB = at_most(50, "ms"), at_most(60, "kB")

_METHOD = (
    "The first screen over {rows:,} running rows, {stuck:,} of them stuck for 40 causes, and a "
    "journal of {rows:,} changes, {today:,} of them in the last 24 hours and of 40 workflow types. "
    "It is asked for in the process, without a network. *The first view* is that of a process that "
    "has just started ({first} processes, their caches empty; PostgreSQL's are not). Then one of "
    "them is watched for {seconds:.0f} s, ten views a second. *Scans* are those in the plans of "
    "the statements of a first view."
)


async def measure(prepared: Prepared) -> Result:
    """Measure the first view of a process, those of one that is watched, and the plans."""
    rows = prepared.sizes.overview
    url = await prepared.stage.database("overview")
    await _fill(url, rows)
    settings, seen, first = settings_for(url), list[Statement](), list[float]()
    for _ in range(FIRST):
        with watched(seen.append):
            async with _browsing(settings) as browser:
                seen.clear()
                taken, _ = await _view(browser)
                first.append(taken)
    async with _browsing(settings) as browser:
        await _view(browser)
        views = []
        for _ in range(VIEWS):
            await asyncio.sleep(PAUSE)
            views.append(await _view(browser))
    watched_ms, size = [taken for taken, _ in views], max(size for _, size in views)
    figures = [
        Figure(f"{rows:,} rows: the first view, median", median(first), "ms"),
        Figure(f"{rows:,} rows: a view, median", median(watched_ms), "ms", goal=MOST_MS),
        Figure(f"{rows:,} rows: a view, 99th percentile", _p99(watched_ms), "ms", goal=MOST_MS),
        Figure(f"{rows:,} rows: size", size / 1000, "kB", goal=MOST_KB),
        *await _plans(url, rows, seen),
    ]
    method = _METHOD.format(
        rows=rows,
        stuck=int(rows * STUCK),
        today=int(rows * TODAY),
        first=FIRST,
        seconds=VIEWS * PAUSE,
    )
    return Result("The page", method, figures)


def _p99(values: Sequence[float]) -> float:
    return quantiles(values, n=100)[-1]


@asynccontextmanager
async def _browsing(settings: Settings) -> AsyncIterator[httpx.AsyncClient]:
    """A client of the page of a process that has connected, and has claimed the lease."""
    health = Health(Every(settings.interval), CollectorRegistry())
    async with open_app(settings, writing=True, looping=True) as app:
        keeper = LeaseKeeper(app.lease(), on_lost=lambda: None)
        feed = FeedLoop(lambda: NotImplemented, timedelta(), {}, print, print, print)
        health.connected(app, keeper, PassMetrics(health.registry, Mode.RUN), feed)
        await keeper.renew_once()
        source = LoopPage(health, settings, {"target_host": "localhost:7233"})
        page = open_page([settings], {settings.target: source})
        assert page is not None
        transport = httpx.ASGITransport(page)
        async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as browser:
            yield browser


async def _view(browser: httpx.AsyncClient) -> tuple[float, int]:
    """Milliseconds until the whole page is there, and its bytes."""
    began = time.perf_counter()
    answer = await browser.get("/")
    taken = (time.perf_counter() - began) * 1000
    answer.raise_for_status()
    assert "could not be read" not in answer.text, answer.text
    return taken, len(answer.content)


async def _plans(url: str, rows: int, seen: Sequence[Statement]) -> Sequence[Figure]:
    """Whole scans of large tables, and rows that the statements of a view return."""
    connection = await asyncpg.connect(url)
    whole, longest = 0, 0.0
    for each in seen:
        if each.query.startswith(FRAME) or "reconciler." not in each.query:
            continue
        longest = max(longest, each.seconds * 1000)
        explained = f"EXPLAIN (FORMAT JSON) {each.query}"
        plan = json.loads(await connection.fetchval(explained, *each.arguments))[0]["Plan"]
        whole += sum(name in LARGE for name in _whole_scans(plan))
    await connection.close()
    return [
        Figure(f"{rows:,} rows: scans of rows, journal or history", whole, "", goal=at_most(0)),
        Figure(f"{rows:,} rows: a statement of the first view, longest", longest, "ms"),
    ]


def _whole_scans(node: Mapping[str, Any]) -> Iterator[str]:
    """The tables that a plan reads as a whole."""
    if node["Node Type"] == "Seq Scan":
        yield node["Relation Name"]
    for child in node.get("Plans", ()):
        yield from _whole_scans(child)


async def _fill(url: str, rows: int) -> None:
    connection = await asyncpg.connect(url)
    sizes = {"rows": rows, "today": int(rows * TODAY), "stuck": int(rows * STUCK)}
    for statement in (_ROWS, _PASSES, _CHANGES, _STUCK):
        await connection.execute(statement.format(**sizes))
    await connection.execute("VACUUM ANALYZE")
    await connection.close()


_ROWS = (
    "INSERT INTO workflow_executions (workflow_id, run_id, workflow_type, created_at)"
    " SELECT 'order-' || n, gen_random_uuid(), 'Type' || n % 40, now() - n * interval '1 second'"
    " FROM generate_series(1, {rows}) n"
)
_PASSES = (
    "INSERT INTO reconciler.passes (id, mode, started_at, finished_at, outcome, report, host,"
    " version, table_name, namespace) SELECT gen_random_uuid(), 'run', at, at, 'ok',"
    " '{{\"duration_seconds\": 1}}', 'h', 'v', 'workflow_executions', 'default'"
    " FROM (SELECT now() - n * interval '30 seconds' AS at FROM generate_series(1, 20000) n) s"
)
_CHANGES = (
    "INSERT INTO reconciler.changes (pass_id, changed_at, table_name, row_id, workflow_id, run_id,"
    " old_status, new_status, new_completed_at, new_error_message, temporal_status, final_run_id,"
    " close_time, found_by, workflow_type)"
    " SELECT (SELECT id FROM reconciler.passes LIMIT 1), at, 'workflow_executions', n,"
    " 'order-' || n, gen_random_uuid(), 'running',"
    " CASE WHEN n % 3 = 0 THEN 'completed' ELSE 'failed' END, at,"
    " 'activity create_zone failed (maximum attempts reached): QuotaExceeded: zone limit is 50',"
    " (array['COMPLETED', 'FAILED', 'TERMINATED'])[1 + n % 3], gen_random_uuid(),"
    " at - random() * interval '1 hour', (array['feed', 'sweep'])[1 + n % 2], 'Type' || n % 40"
    " FROM (SELECT n, now() - CASE WHEN n <= {rows} - {today}"
    " THEN interval '1 day' + ({rows} - n) * interval '8 seconds'"
    " ELSE ({rows} - n) * interval '1 day' / {today} END AS at"
    " FROM generate_series(1, {rows}) n) s"
)
_STUCK = (
    "INSERT INTO reconciler.stuck (table_name, namespace, row_id, workflow_id, reason, text, since,"
    " seen, run_id, workflow_type, cause)"
    " SELECT 'workflow_executions', 'default', id, workflow_id, 'ActivityRetrying',"
    " 'create_zone: QuotaExceeded: zone limit is 50 (attempt 7)', created_at, now(), run_id,"
    " workflow_type, 'create_zone: QuotaExceeded: zone limit is N'"
    " FROM workflow_executions WHERE id <= {stuck}"
)
