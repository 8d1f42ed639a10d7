"""What `passes`, `changes` and `undo` print for people."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Sequence
from typing import Generic, TypeVar

from rich.cells import cell_len
from rich.console import Console

from reconciler.app.overview.words import TEXT, describe_counts, describe_request
from reconciler.console.report import print_counts, print_outcome
from reconciler.console.screen import print_line
from reconciler.core.policy import StatusValues
from reconciler.core.stuck.condition import StuckRow
from reconciler.core.text import one_line, or_null, plural, utc, visible
from reconciler.core.undo import SkipReason, UndoReport
from reconciler.postgres.journal.entries import StoredChange, StoredPass

_Entry = TypeVar("_Entry", StoredPass, StoredChange, StuckRow)

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


class Listing(Generic[_Entry]):
    """A table that is printed page by page, because it may not fit into memory.

    Columns are as wide as their widest cell so far. A column that is empty in the whole first page
    is left out.
    """

    #: Those that show other entries.
    options = "--limit N"

    def __init__(
        self, console: Console, limit: int, heads: Sequence[str], right: Sequence[str] = ()
    ) -> None:
        self._console, self._left, self._heads = console, limit, heads
        self._right = {heads.index(head) for head in right}
        #: By the index of the column.
        self._widths: dict[int, int] = {}
        self._more = False

    def add(self, page: Sequence[_Entry]) -> None:
        """Print a page of entries."""
        raise NotImplementedError

    def end(self, command: Sequence[str]) -> None:
        """Print that there are no entries, or how to see more of them."""
        if not self._widths:
            print_line(self._console, f"no {command[0]}")
        elif self._more:
            again = shlex.join(["reconciler", *command])
            text = f"there are more: {again} {self.options}, or --json"
            print_line(self._console, text, style="dim")

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
            print_line(self._console, self._joined(line), style=style)

    def _joined(self, line: Sequence[str]) -> str:
        cells = []
        for number, width in self._widths.items():
            space = " " * (width - cell_len(line[number]))
            right = number in self._right
            cells.append(space + line[number] if right else line[number] + space)
        return "  ".join(cells).rstrip()


class PassTable(Listing[StoredPass]):
    """The passes, one line each."""

    # Most passes may be of the feed.
    options = "--limit N, --mode MODE"

    def __init__(self, console: Console, limit: int) -> None:
        heads = ("pass", "started", "mode", "outcome", "seconds", "scanned", "written")
        more = ("table", "namespace", "asked", "error")
        super().__init__(console, limit, heads + more, right=("seconds", "scanned"))
        self._scopes: set[tuple[str | None, str | None]] = set()

    def add(self, page: Sequence[StoredPass]) -> None:
        """Print a page of passes."""
        self._scopes |= {(stored.table, stored.namespace) for stored in page}
        self._print([self._line(stored) for stored in page])

    def _line(self, stored: StoredPass) -> Sequence[str]:
        report = stored.report or {}
        duration = report.get("duration_seconds")
        several = len(self._scopes) > 1  # otherwise it goes without saying
        return (
            str(stored.id),
            utc(stored.started_at),
            stored.mode,
            stored.outcome or "unfinished",
            "" if duration is None else f"{duration:.1f}",
            str(report.get("scanned", "")),
            describe_counts(report.get("written", {})),
            (stored.table or "") if several else "",
            (stored.namespace or "") if several else "",
            describe_request(stored.asked or {}),
            one_line(stored.error or "", TEXT),
        )


class ChangeTable(Listing[StoredChange]):
    """The changes, one line each."""

    def __init__(self, console: Console, limit: int) -> None:
        heads = ("changed", "pass", "found by", "table", "row", "workflow", "status")
        super().__init__(console, limit, (*heads, "completed at", "why"))
        self._tables: set[str] = set()

    def add(self, page: Sequence[StoredChange]) -> None:
        """Print a page of changes."""
        self._tables |= {change.table for change in page}
        self._print([self._line(change) for change in page])

    def _line(self, change: StoredChange) -> Sequence[str]:
        why = [change.temporal_status, change.new.error_message]
        return (
            utc(change.changed_at),
            str(change.pass_id),
            change.found_by or "",
            change.table if len(self._tables) > 1 else "",
            one_line(change.row_id, TEXT),
            one_line(change.workflow_id, TEXT),
            f"{or_null(change.old.status)} → {or_null(change.new.status)}",
            "" if change.new.completed_at is None else utc(change.new.completed_at),
            one_line(": ".join(filter(None, why)), TEXT),
        )


def summary(stored: StoredPass, rows: int) -> str:
    """The pass in one line, for the question whether to undo it."""
    started = utc(stored.started_at)
    return f"pass {stored.id}, {stored.mode}, {started}, {plural(rows, 'row')} changed"


def print_undo(report: UndoReport, statuses: StatusValues, console: Console) -> None:
    """Print the counts of an undo with their reasons, and what to do next."""
    if report.scanned == report.expected == 0 and report.error is None:
        print_line(console, f"pass {report.undone} changed nothing")
        return
    print_counts(_lines(report), console)
    changes = plural(report.scanned, "change")
    text = f"{changes} of pass {report.undone} in {report.duration_seconds:.2f} s"
    print_outcome(report, text, console)
    for line in _next(report, statuses):
        print_line(console, line, style="dim")


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


def _next(report: UndoReport, statuses: StatusValues) -> Iterator[str]:
    if any(report.written[or_null(status)] for status in statuses.running):
        yield "a pass of `once` or `run` would finish these rows again"
    if report.written and not report.request.dry_run:
        yield f"to take it back: reconciler undo {report.pass_id}"
