"""`docs/benchmarks.md` and its picture."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from benchmarks.chart import chart
from benchmarks.figures import Result
from benchmarks.table import machine_table, markdown, summary

_INTRODUCTION = """\
# Benchmarks

Written by `make bench`; do not edit. Everything is measured in one run on real servers, so it is
the ratios that count: another machine has other figures, and much the same ratios. A goal is asked
of the ratio where there is one. `make bench-quick` measures less, in less than two minutes, and
writes nothing.

"""


def write_page(results: Sequence[Result], machine: Mapping[str, str], folder: Path) -> None:
    """Write the page and the picture into this folder."""
    (folder / "benchmarks.svg").write_text(chart(results))
    (folder / "benchmarks.md").write_text(page(results, machine))


def page(results: Sequence[Result], machine: Mapping[str, str]) -> str:
    """The page: the picture, every scenario, and where it was measured."""
    parts = [
        f"{_INTRODUCTION}{machine_table(machine)}\n",
        f"{summary(results)}.\n",
        "![Each figure as a share of its goal](benchmarks.svg)\n",
        *map(markdown, results),
    ]
    return "\n".join(parts)
