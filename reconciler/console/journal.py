"""Passes, changes and undoing, for people.

Lists have a line per entry, however long: ids are to be copied, and lines to be searched.
"""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from rich.cells import cell_len
from rich.console import Console

from reconciler.console.report import COLOURS, print_counts
from reconciler.console.screen import shown, utc
from reconciler.core.text import one_line, plural, visible
from reconciler.core.undo import SkipReason, UndoReport
from reconciler.postgres.journal.entries import StoredChange, StoredPass

#: Characters of a text that may be long; --json prints all of it.
TEXT = 200
#: Each reason in words.
WHY_KEPT = {
    SkipReason.AS_BEFORE: "had the old values already",
    SkipReason.CHANGED: "changed by someone else since",
    SkipReason.REUSED: "about another run or workflow by now",
    SkipReason.GONE: "deleted",
    SkipReason.LOCKED: "locked by another transaction: undo again later",
    SkipReason.REFUSED: "refused by the database, see the log",
    SkipReason.PRUNED: "no longer in the journal",
}


class _Listing:
    """Entries in columns, page by page, so that not all of them need to be held.

    Columns are as wide as what has been in them so far; one that is empty in the whole first page
    is left out.
    """

    def __init__(
        self, console: Console, limit: int, heads: Sequence[str], right: Sequence[str] = ()
    ) -> None:
        self._console, self._left, self._heads = console, limit, heads
        self._right = {heads.index(head) for head in right}
        #: By number of the column.
        self._widths: dict[int, int] = {}
        self._more = False

    def end(self, command: Sequence[str]) -> None:
        """Say if there are more, and what shows them; or that there are none."""
        if not self._widths:
            self._console.print(shown(f"no {command[0]}"))
        elif self._more:
            again = shlex.join(["reconciler", *command])
            text = shown(f"there are more: {again} --limit N, or --json", style="dim")
            self._console.print(text, soft_wrap=True)

    def _print(self, entries: Sequence[Sequence[str]]) -> None:
        taken = [[visible(cell) for cell in entry] for entry in entries[: self._left]]
        self._left -= len(taken)
        self._more = self._more or len(taken) < len(entries)
        lines: list[Sequence[str]] = list(taken)
        if not self._widths and taken:
            columns = enumerate(zip(*taken, strict=True))
            self._widths = {number: 0 for number, cells in columns if any(cells)}
            lines.insert(0, self._heads)
        for number, width in self._widths.items():
            self._widths[number] = max(width, *(cell_len(line[number]) for line in lines), 0)
        for line in lines:
            style = "bold" if line is self._heads else ""
            self._console.print(shown(self._joined(line), style=style), soft_wrap=True)

    def _joined(self, line: Sequence[str]) -> str:
        cells = []
        for number, width in self._widths.items():
            space = " " * (width - cell_len(line[number]))
            right = number in self._right
            cells.append(space + line[number] if right else line[number] + space)
        return "  ".join(cells).rstrip()


class PassTable(_Listing):
    """The passes, a line each."""

    def __init__(self, console: Console, limit: int) -> None:
        heads = ("pass", "started", "mode", "outcome", "seconds", "scanned", "written")
        more = ("table", "namespace", "asked", "error")
        super().__init__(console, limit, heads + more, right=("seconds", "scanned"))
        self._over: set[tuple[str | None, str | None]] = set()

    def add(self, page: Sequence[StoredPass]) -> None:
        """Print a page of them."""
        self._over |= {(stored.table, stored.namespace) for stored in page}
        self._print([self._line(stored) for stored in page])

    def _line(self, stored: StoredPass) -> Sequence[str]:
        report = stored.report or {}
        duration = report.get("duration_seconds")
        several = len(self._over) > 1  # which one is of no interest where there is no other
        return (
            str(stored.id),
            utc(stored.started_at),
            stored.mode,
            stored.outcome or "unfinished",
            "" if duration is None else f"{duration:.1f}",
            str(report.get("scanned", "")),
            _counts(report.get("written", {})),
            (stored.table or "") if several else "",
            (stored.namespace or "") if several else "",
            _asked(stored.asked or {}),
            one_line(stored.error or "", TEXT),
        )


class ChangeTable(_Listing):
    """The changes, a line each."""

    def __init__(self, console: Console, limit: int) -> None:
        heads = ("changed", "pass", "table", "row", "workflow", "status", "completed at", "why")
        super().__init__(console, limit, heads)
        self._tables: set[str] = set()

    def add(self, page: Sequence[StoredChange]) -> None:
        """Print a page of them."""
        self._tables |= {change.table for change in page}
        self._print([self._line(change) for change in page])

    def _line(self, change: StoredChange) -> Sequence[str]:
        why = [change.temporal_status, change.new.error_message]
        return (
            utc(change.changed_at),
            str(change.pass_id),
            change.table if len(self._tables) > 1 else "",
            one_line(change.row_id, TEXT),
            one_line(change.workflow_id, TEXT),
            f"{change.old.status} → {change.new.status}",
            "" if change.new.completed_at is None else utc(change.new.completed_at),
            one_line(": ".join(filter(None, why)), TEXT),
        )


def in_short(stored: StoredPass, rows: int) -> str:
    """The pass in a line, for the question whether to undo it."""
    changed = f"{rows} row{'' if rows == 1 else 's'} changed"
    return f"pass {stored.id}, {stored.mode}, {utc(stored.started_at)}, {changed}"


def print_undo(report: UndoReport, running: Sequence[str], console: Console) -> None:
    """The counts of an undo, reasons included, and what to know of the rows that run again."""
    if report.scanned == report.expected == 0 and report.error is None:
        console.print(shown(f"pass {report.undone} changed nothing"), soft_wrap=True)
        return
    print_counts(_lines(report), console)
    changes = plural(report.scanned, "change")
    console.print(
        shown(
            (report.outcome.value, COLOURS[report.outcome]),
            f": {changes} of pass {report.undone} in {report.duration_seconds:.2f} s",
            ", nothing was written" if report.request.dry_run else f", pass {report.pass_id}",
        ),
        soft_wrap=True,
    )
    for line in _next(report, running):
        console.print(shown(line, style="dim"), soft_wrap=True)


def _lines(report: UndoReport) -> Iterator[tuple[str, str, int, str]]:
    group = "would put back" if report.request.dry_run else "put back"
    for status, count in sorted(report.written.items()) or [("", 0)]:
        yield group, status, count, ""
        group = ""
    group = "left"
    for reason in SkipReason:
        if report.left[reason]:
            yield group, reason.value.replace("_", " "), report.left[reason], WHY_KEPT[reason]
            group = ""


def _next(report: UndoReport, running: Sequence[str]) -> Iterator[str]:
    if any(report.written[status] for status in running):
        yield "a pass of `once` or `run` would finish these rows again"
    if report.written and not report.request.dry_run:
        yield f"to take it back: reconciler undo {report.pass_id}"


def _asked(asked: Mapping[str, Any]) -> str:
    """What a pass was asked to do, in short."""
    words = {
        "since": "since",
        "until": "until",
        "workflow_type": "type",
        "plan": "plan",
        "undo": "undo of",
    }
    parts = [f"{word} {asked[name]}" for name, word in words.items() if asked.get(name)]
    if asked.get("missing") == "fail":
        parts.append("missing fail")
    return one_line(", ".join(parts), TEXT)


def _counts(written: Mapping[str, int]) -> str:
    return ", ".join(f"{status} {count}" for status, count in sorted(written.items()) if count)
