"""Measure everything, print it, and write `docs/benchmarks.md` if asked to.

A missed goal is printed as missed and does not fail the command: machines differ, and this one may
be busy with something else.
"""

from __future__ import annotations

import argparse
import asyncio
import time
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from pathlib import Path

from rich.console import Console
from rich.markdown import Markdown

from benchmarks import (
    after_close,
    closed,
    growth,
    hold,
    machine,
    main_path,
    overview,
    steady,
    stuck,
    targets,
    writes,
)
from benchmarks.feed import catching_up, latency, load, quiet
from benchmarks.figures import Result
from benchmarks.fleet import efficiency, exactness
from benchmarks.page import make_page, replace_sections
from benchmarks.prepared import Prepared, prepare
from benchmarks.sizes import FULL, QUICK, Sizes
from benchmarks.stage import staged
from reconciler.host.logs import configure_logs

PAGE = Path(__file__).parent.parent / "docs" / "benchmarks.md"

SCENARIOS: Mapping[str, Callable[[Prepared], Awaitable[Result]]] = {
    "once": closed.measure_once,
    "steady": steady.measure,
    "stuck": stuck.measure,
    "backfill": closed.measure_backfill,
    "writes": writes.measure,
    "main-path": main_path.measure,
    "hold": hold.measure,
    "after-close": after_close.measure,
    "growth": growth.measure_real,
    "scripted": growth.measure_scripted,
    "feed-quiet": quiet.measure,
    "feed-latency": latency.measure,
    "feed-load": load.measure,
    "feed-catch-up": catching_up.measure,
    "page": overview.measure,
    "targets": targets.measure,
    "distributed": efficiency.measure,
    "distributed-scripted": exactness.measure,
}


async def measure(
    sizes: Sizes, names: Collection[str]
) -> tuple[Sequence[Result], Mapping[str, str]]:
    """Run these scenarios; return their results and the machine. Prints progress to stderr."""
    console, started = Console(stderr=True), time.monotonic()

    def show(done: str) -> None:
        console.print(f"{time.monotonic() - started:4.0f} s  {done}")

    async with staged() as stage:
        described = await machine.describe(stage)
        prepared = await prepare(stage, sizes)
        show("servers and workflows")
        results: list[Result] = []
        for name, scenario in SCENARIOS.items():
            if name in names:
                results.append(await scenario(prepared))
                show(name)
        return results, described


def main() -> None:
    """Read the arguments, measure, print."""
    parser = argparse.ArgumentParser(prog="benchmarks", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="measure less")
    parser.add_argument(
        "--write", action="store_true", help="write docs/benchmarks.md, or its sections with --only"
    )
    parser.add_argument("--only", nargs="+", choices=SCENARIOS, help="measure only these scenarios")
    arguments = parser.parse_args()
    if arguments.write and arguments.quick:
        parser.error("--write needs the full measurements: not with --quick")
    configure_logs("error", as_json=False)
    sizes = QUICK if arguments.quick else FULL
    results, described = asyncio.run(measure(sizes, arguments.only or SCENARIOS))
    page = make_page(results, described)
    Console().print(Markdown(page))
    if arguments.write and arguments.only:
        page = replace_sections(PAGE.read_text(), results, described)
    if arguments.write:
        PAGE.write_text(page)


if __name__ == "__main__":
    main()
