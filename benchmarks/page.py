"""The page with all results, `docs/benchmarks.md`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from benchmarks.figures import Figure, Result

_INTRODUCTION = """\
# Benchmarks

Written by `make bench`; do not edit. Everything is measured in one run on real servers. Read the
ratios: other machines have other figures, but much the same ratios. Where there is a ratio, the
goal applies to it. `make bench-quick` measures less, in less than two minutes, and writes nothing.
"""


def make_page(results: Sequence[Result], machine: Mapping[str, str]) -> str:
    """The page in Markdown: where it was measured, the goals, and every scenario."""
    lines = [_INTRODUCTION, "| | |", "|---|---|"]
    lines += [f"| {name} | {text} |" for name, text in machine.items()]
    lines += ["", f"{summarise(results)}.", ""]
    for result in results:
        lines += [f"## {result.title}", "", result.method, "", *_table(result.figures), ""]
    return "\n".join(lines)


def summarise(results: Sequence[Result]) -> str:
    """How many of the goals are met, and the names of the others."""
    goals = [figure for result in results for figure in result.figures if figure.goal]
    missed = [figure.name for figure in goals if not figure.is_met]
    met = f"{len(goals) - len(missed)} of {len(goals)} goals are met"
    return f"{met}; missed: {'; '.join(missed)}" if missed else met


def _table(figures: Sequence[Figure]) -> Iterator[str]:
    yield "|  | measured | compared | goal |  |"
    yield "|---|---:|---|---|---|"
    for figure in figures:
        goal = "" if figure.goal is None else str(figure.goal)
        verdict = {None: "", True: "met", False: "**missed**"}[figure.is_met]
        cells = figure.name, figure.measured, figure.comparison, goal, verdict
        yield f"| {' | '.join(cells)} |"
