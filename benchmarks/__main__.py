"""Measure everything, print it, and write `docs/benchmarks.md` if asked to.

A goal that is missed is printed as missed and does not fail the command: machines differ, and the
one that runs this may be busy with something else.
"""

from __future__ import annotations

import argparse
import asyncio
import time
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from pathlib import Path

from rich.console import Console

from benchmarks import closed, growth, hold, machine, main_path, steady, writes
from benchmarks.figures import Result
from benchmarks.page import write_page
from benchmarks.prepared import Prepared, prepare
from benchmarks.sizes import FULL, QUICK, Sizes
from benchmarks.stage import staged
from benchmarks.table import machine_lines, print_results
from reconciler.host.logs import configure_logs

DOCS = Path(__file__).parent.parent / "docs"

SCENARIOS: Mapping[str, Callable[[Prepared], Awaitable[Result]]] = {
    "once": closed.measure_once,
    "steady": steady.measure,
    "backfill": closed.measure_backfill,
    "writes": writes.measure,
    "main-path": main_path.measure,
    "hold": hold.measure,
    "growth": growth.measure_real,
    "scripted": growth.measure_scripted,
}


async def measure(
    sizes: Sizes, names: Collection[str]
) -> tuple[Mapping[str, str], Sequence[Result]]:
    """The machine and the results of these scenarios; reports progress on stderr."""
    console, began = Console(stderr=True), time.monotonic()

    def progress(done: str) -> None:
        console.print(f"{time.monotonic() - began:4.0f} s  {done}")

    async with staged() as stage:
        described = await machine.describe(stage)
        prepared = await prepare(stage, sizes)
        progress("servers and workflows are there")
        results: list[Result] = []
        for name, scenario in SCENARIOS.items():
            if name in names:
                results.append(await scenario(prepared))
                progress(name)
        return described, results


def main() -> None:
    """Read the arguments, measure, print."""
    parser = argparse.ArgumentParser(prog="benchmarks", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="measure less")
    parser.add_argument("--write", action="store_true", help="write docs/benchmarks.md and .svg")
    parser.add_argument("--only", nargs="+", choices=SCENARIOS, help="these scenarios alone")
    arguments = parser.parse_args()
    if arguments.write and (arguments.quick or arguments.only):
        parser.error("--write is for the whole: not with --quick or --only")
    configure_logs("error", as_json=False)
    sizes = QUICK if arguments.quick else FULL
    described, results = asyncio.run(measure(sizes, arguments.only or SCENARIOS))
    console = Console()
    console.print(machine_lines(described))
    print_results(results, console)
    if arguments.write:
        write_page(results, described, DOCS)


if __name__ == "__main__":
    main()
