"""The results as tables: on a terminal, and in Markdown."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from rich.console import Console
from rich.table import Table

from benchmarks.figures import Figure, Result

_HEADS = ("", "measured", "compared", "goal", "")


def print_results(results: Sequence[Result], console: Console) -> None:
    """A table for each scenario, and how many of the goals are met."""
    for result in results:
        table = Table(*_HEADS, title=result.title, title_justify="left")
        for figure in result.figures:
            table.add_row(*_cells(figure), style="bold red" if figure.is_met is False else None)
        console.print(table)
    console.print(summary(results))


def summary(results: Sequence[Result]) -> str:
    """How many of the goals are met, and the names of the others."""
    goals = [figure for result in results for figure in result.figures if figure.goal]
    missed = [figure.name for figure in goals if not figure.is_met]
    text = f"{len(goals) - len(missed)} of {len(goals)} goals are met"
    return f"{text}; missed: {'; '.join(missed)}" if missed else text


def markdown(result: Result) -> str:
    """The same as a section of a page."""
    return "\n".join([f"## {result.title}", "", result.method, "", *_rows(result.figures), ""])


def machine_lines(machine: Mapping[str, str]) -> str:
    """What it was measured on, for a terminal."""
    return "\n".join(f"{name}: {text}" for name, text in machine.items())


def machine_table(machine: Mapping[str, str]) -> str:
    """What it was measured on, for a page."""
    return "\n".join(
        ["| | |", "|---|---|", *(f"| {name} | {text} |" for name, text in machine.items())]
    )


def _rows(figures: Sequence[Figure]) -> Iterator[str]:
    yield f"| {' | '.join(_HEADS)} |"
    yield "|---|---:|---|---|---|"
    for figure in figures:
        *text, verdict = _cells(figure)
        yield f"| {' | '.join([*text, f'**{verdict}**' if figure.is_met is False else verdict])} |"


def _cells(figure: Figure) -> tuple[str, ...]:
    goal = "" if figure.goal is None else str(figure.goal)
    return figure.name, figure.measured, figure.comparison, goal, figure.verdict
