"""The page with all results, `docs/benchmarks.md`."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence

from benchmarks.figures import Figure, Result

_INTRODUCTION = """\
# Benchmarks

Written by `make bench`; do not edit. Everything is measured in one run on real servers, unless a
section says otherwise. Read the ratios: other machines have other figures, but much the same
ratios. Where there is a ratio, the goal applies to it. `make bench-quick` measures less, in a few
minutes, and writes nothing.
"""
_FACTS, _SECTION = "| | |", "\n## "
_MET, _MISSED = "met", "**missed**"


def make_page(results: Sequence[Result], machine: Mapping[str, str]) -> str:
    """The page in Markdown: where it was measured, the goals, and every scenario."""
    lines = [_FACTS, "|---|---|"]
    lines += [f"| {name} | {text} |" for name, text in machine.items()]
    return _with_summary("\n".join(lines), [_section(result) for result in results])


def replace_sections(page: str, results: Sequence[Result], machine: Mapping[str, str]) -> str:
    """The page with these scenarios measured again, by a run of their own; new ones come last."""
    day, load = machine["measured"], machine["load before"]
    note = f"Measured by a run of its own: {day}, load before {load}."
    head, *before = page.split(_SECTION)
    sections = {section.partition("\n")[0]: section for section in before}
    for result in results:
        sections[result.title] = _section(result, note)
    facts = head[head.index(_FACTS) : head.rindex("|") + 1]
    return _with_summary(facts, [each.rstrip("\n") + "\n" for each in sections.values()])


def summarise(sections: Iterable[str]) -> str:
    """How many of the goals in these sections are met, and the names of the others."""
    rows = [line.strip("| ").split(" | ") for text in sections for line in text.splitlines()]
    missed = [cells[0] for cells in rows if cells[-1] == _MISSED]
    met = sum(cells[-1] == _MET for cells in rows)
    summary = f"{met} of {met + len(missed)} goals are met"
    return f"{summary}; missed: {'; '.join(missed)}" if missed else summary


def _with_summary(facts: str, sections: Sequence[str]) -> str:
    head = f"{_INTRODUCTION}\n{facts}\n\n{summarise(sections)}.\n"
    return _SECTION.join([head, *sections])


def _section(result: Result, note: str = "") -> str:
    method = " ".join(filter(None, [result.method, note]))
    return "\n".join([result.title, "", method, "", *_table(result.figures), ""])


def _table(figures: Sequence[Figure]) -> Iterator[str]:
    yield "|  | measured | compared | goal |  |"
    yield "|---|---:|---|---|---|"
    for figure in figures:
        goal = "" if figure.goal is None else str(figure.goal)
        verdict = {None: "", True: _MET, False: _MISSED}[figure.is_met]
        cells = figure.name, figure.measured, figure.comparison, goal, verdict
        yield f"| {' | '.join(cells)} |"
