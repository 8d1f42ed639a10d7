"""A quiet minute: the same for ten rows and a million, but for the sweep's share."""

from __future__ import annotations

import asyncio
import math
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from benchmarks.feed.daemon import NO_PASSES, Daemon, running
from benchmarks.feed.scripted_temporal import ScriptedTemporal, scripted_temporal
from benchmarks.feed.tables import fill_open, forget_passes, save_marks
from benchmarks.figures import Figure, Result, at_most
from benchmarks.prepared import Prepared
from reconciler.core.model import CloseStatus

#: Seconds in a day.
DAY = 86_400
#: Defaults: RECONCILER_FULL_SWEEP_INTERVAL in seconds, and a quarter of RECONCILER_MAX_RPS.
ROUND, RATE = 600, 25
#: A round of the sweep takes so much less.
LEEWAY = 0.2
#: Seconds from one pass to the next, where there are any.
EVERY = 5
#: Seconds after the first pass.
SETTLING = 3.0
#: Closings of each status that visibility shows to every poll.
SHOWN = 20

_METHOD = (
    "`reconciler run` over tables whose workflows are all open, each in a process of its own, at "
    "the same time, for {seconds} s in which nothing closes. A dev server does not hold a million "
    "workflows, so Temporal is scripted: it answers over gRPC, with 20 old closings of each "
    "status. *A poll* is measured with `RECONCILER_FEED_INTERVAL=1s` while no pass is due; with "
    "`RECONCILER_FEED_INTERVAL=0` the same process only renews its lease, by statements that are "
    "left out of a poll's. *A day* is measured with default settings except "
    "`RECONCILER_INTERVAL=5s`, by the calls in {passes} passes: polls every 5 s, and the sweep, "
    "which describes each row once in 10 minutes less a fifth, but no more than 25 rows a second, "
    "a quarter of `RECONCILER_MAX_RPS`. *Allowed* calls: 6 for each poll, and the sweep's. A day "
    "is compared with one of passes without a feed every 30 s: a list for 500 rows in each pass, "
    "and a describe of each row every 10 minutes. That is computed; the default limits allow it "
    "for up to 60,000 rows."
)


@dataclass(frozen=True, slots=True)
class Window:
    """What one daemon did in a while."""

    seconds: float
    polls: int
    cpu_seconds: float
    calls: Counter[str]
    statements: int

    def __sub__(self, before: Window) -> Window:
        return Window(
            self.seconds - before.seconds,
            self.polls - before.polls,
            self.cpu_seconds - before.cpu_seconds,
            self.calls - before.calls,
            self.statements - before.statements,
        )

    @property
    def share_of_a_core(self) -> float:
        """In per cent."""
        return 100 * self.cpu_seconds / self.seconds

    def in_a(self, seconds: float, of: float) -> float:
        """How many of something there would be in this time."""
        return of * seconds / self.seconds


@dataclass(frozen=True, slots=True)
class Scene:
    """A table, and the Temporal of its rows."""

    url: str
    script: ScriptedTemporal


async def measure(prepared: Prepared) -> Result:
    """Measure the cost of a poll and of a day, for tables of several sizes."""
    sizes, stage = prepared.sizes, prepared.stage
    seconds, passes = sizes.quiet_seconds, sizes.quiet_seconds // EVERY
    async with AsyncExitStack() as stack:
        scenes: dict[int, Scene] = {}
        for rows in (0, *sizes.quiet):
            url = await stage.database(f"quiet_{rows}")
            await fill_open(url, rows)
            scenes[rows] = Scene(url, await stack.enter_async_context(scripted_temporal()))
            await _make_warm(scenes[rows])
        no_feed = _watch(scenes.pop(0), {"FEED_INTERVAL": "0", **NO_PASSES}, seconds)
        polls = [
            _watch(each, {"FEED_INTERVAL": "1s", **NO_PASSES}, seconds) for each in scenes.values()
        ]
        idle, *polled = await asyncio.gather(no_feed, *polls)
        days = [_watch_passes(each, {"INTERVAL": f"{EVERY}s"}, passes) for each in scenes.values()]
        swept = await asyncio.gather(*days)
    figures = [
        *figures_of_a_poll(dict(zip(scenes, polled, strict=True)), idle),
        *figures_of_a_day(dict(zip(scenes, swept, strict=True))),
    ]
    method = _METHOD.format(seconds=seconds, passes=passes)
    return Result("The feed: a quiet minute", method, figures)


async def _make_warm(scene: Scene) -> None:
    """Let visibility show closings, all of them from before the saved marks."""
    now = datetime.now(UTC)
    for status in CloseStatus:
        for number in range(SHOWN):
            at = now - timedelta(minutes=10) + timedelta(milliseconds=number)
            scene.script.close(f"{status}-{number}", status, at)
    await save_marks(scene.url, scene.script.address, dict.fromkeys(CloseStatus, now))


async def _watch(scene: Scene, settings: Mapping[str, str], seconds: float) -> Window:
    """What a daemon does in this time, after its first pass."""
    async with running(scene.url, scene.script.address, **settings) as daemon:
        await daemon.has_passed()
        await asyncio.sleep(SETTLING)
        before = _so_far(daemon, scene)
        await asyncio.sleep(seconds)
        return _so_far(daemon, scene) - before


async def _watch_passes(scene: Scene, settings: Mapping[str, str], passes: int) -> Window:
    """What a daemon does from the end of its second pass until `passes` more have ended.

    The first has no share in the sweep, as if there had never been one.
    """
    await forget_passes(scene.url)
    async with running(scene.url, scene.script.address, **settings) as daemon:
        await daemon.has_passed(2)
        before = _so_far(daemon, scene)
        await daemon.has_passed(2 + passes)
        return _so_far(daemon, scene) - before


def _so_far(daemon: Daemon, scene: Scene) -> Window:
    script = scene.script
    spent = daemon.cpu_seconds, script.calls, daemon.statements.total()
    return Window(time.monotonic(), script.polls, *spent)


def figures_of_a_poll(windows: Mapping[int, Window], idle: Window) -> Iterator[Figure]:
    """What a poll takes, by rows; `idle`: of a process without a feed."""
    smallest = min(windows)
    fewest = windows[smallest].cpu_seconds / windows[smallest].polls
    yield Figure("no feed: CPU", idle.share_of_a_core, "% of a core")
    yield Figure("no feed: statements in a minute", idle.in_a(60, idle.statements), "")
    for rows, seen in windows.items():
        name, cpu = f"{rows:,} rows", seen.cpu_seconds / seen.polls
        equal: dict[str, Any] = {}
        if rows != smallest:
            compared = f"of {smallest:,} rows"
            equal = {"ratio": cpu / fewest, "compared": compared, "goal": at_most(1.25, "×")}
        # The lease is claimed every five seconds: once more, or less, in one of the windows.
        statements = max(seen.statements - idle.statements, 0) / seen.polls
        calls = seen.calls.total() / seen.polls
        yield Figure(f"{name}: calls of a poll", calls, "calls", goal=at_most(6))
        yield Figure(f"{name}: CPU of a poll", cpu * 1000, "ms", **equal)
        yield Figure(f"{name}: CPU", seen.share_of_a_core, "% of a core", goal=at_most(2, "%"))
        yield Figure(f"{name}: statements of a poll", statements, "", goal=at_most(0.5))


def figures_of_a_day(windows: Mapping[int, Window]) -> Iterator[Figure]:
    """What a day takes, by rows."""
    for rows, seen in windows.items():
        name, total = f"{rows:,} rows", seen.calls.total()
        screened = DAY / 30 * math.ceil(rows / 500) + DAY / ROUND * rows
        day = seen.in_a(DAY, total)
        described = seen.in_a(DAY, seen.calls["DescribeWorkflowExecution"])
        allowed = 6 * seen.polls + seen.seconds * min(rows / (ROUND * (1 - LEEWAY)), RATE)
        less = day / screened, f"of the {screened:,.0f} of screened passes"
        within = total / allowed, f"of the {allowed:,.0f} allowed", at_most(1.1, "×")
        yield Figure(f"{name}: calls in a day", day, "calls", *less)
        yield Figure(f"{name}: describes in a day", described, "calls")
        yield Figure(f"{name}: calls in {seen.seconds:.0f} s", total, "calls", *within)
