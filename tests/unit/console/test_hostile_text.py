"""A terminal only shows what rows, workflows, failures and settings contain."""

from __future__ import annotations

import io
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from reconciler.app.backfill import Preview
from reconciler.app.explain import Explanation
from reconciler.console.doctor import print_examination
from reconciler.console.explain import print_explanations
from reconciler.console.journal import ChangeTable, PassTable, print_undo
from reconciler.console.preview import print_preview, print_what_next
from reconciler.console.report import print_report
from reconciler.console.screen import screen
from reconciler.core.model import Closed, CloseStatus, Leave, LeaveReason, Missing, Open, Unknown
from reconciler.core.policy import StatusValues
from reconciler.core.report.pass_report import PassReport
from reconciler.core.report.request import PassRequest
from reconciler.core.undo import UndoReport
from reconciler.core.window import AgeSpread, Window
from reconciler.doctor.findings import Examination, Finding, Level
from reconciler.postgres.journal.entries import Values
from reconciler.postgres.rows.lookup.stored import StoredRow
from reconciler.settings.display import ResolvedSetting
from tests.support.factories import CLOSE_TIME, NOW, finish, row
from tests.support.hostile import HOSTILE, unseen
from tests.unit.console.test_journal import a_change, a_pass

Printing = Callable[[Console], None]


def _explain(console: Console) -> None:
    of = row(HOSTILE, workflow_id=HOSTILE, run_id=HOSTILE)
    stored = StoredRow(of, True, HOSTILE, CLOSE_TIME, HOSTILE)
    end = Closed(CloseStatus.FAILED, CLOSE_TIME, HOSTILE, HOSTILE)
    leave = Leave(of, LeaveReason.UNKNOWN, HOSTILE)
    explanations = [
        Explanation(stored, end, finish(of, status=HOSTILE)),
        *(Explanation(stored, seen(HOSTILE), leave) for seen in (Open, Missing, Unknown)),
    ]
    print_explanations(explanations, console)


def _passes(console: Console) -> None:
    table = PassTable(console, 1)
    report = {"duration_seconds": 1, "scanned": 1, "written": {HOSTILE: 1}}
    texts = ("mode", "table", "namespace", "outcome", "error", "host", "version")
    asked = {"since": HOSTILE, "until": HOSTILE, "workflow_type": HOSTILE, "plan": HOSTILE}
    hostile = a_pass(**dict.fromkeys(texts, HOSTILE), asked=asked, report=report)
    table.add([hostile, a_pass(), hostile])
    table.end(["passes", HOSTILE])


def _changes(console: Console) -> None:
    table = ChangeTable(console, 2)
    values = Values(HOSTILE, CLOSE_TIME, HOSTILE)
    texts = ("table", "row_id", "workflow_id", "run_id", "temporal_status", "final_run_id")
    hostile = a_change(**dict.fromkeys(texts, HOSTILE), old=values, new=values)
    table.add([hostile, a_change(), hostile])
    table.end(["changes", "--workflow-id", HOSTILE])


def _undo(console: Console) -> None:
    report = UndoReport(HOSTILE, PassRequest(HOSTILE), started_at=NOW)
    report.expected = report.scanned = 1
    report.written = Counter({HOSTILE: 1})
    print_undo(report, StatusValues((HOSTILE,)), console)


def _a_report(**fields: Any) -> PassReport:
    dry_run = fields.pop("dry_run", False)
    report = PassReport(HOSTILE, PassRequest("backfill", dry_run), NOW, **fields)
    report.done.written = Counter({HOSTILE: 1})
    report.done.left = Counter({LeaveReason.UNKNOWN: 1, LeaveReason.OPEN: 1})
    return report


def _preview(console: Console) -> None:
    window = Window(workflow_type=HOSTILE)
    ahead = AgeSpread(1, NOW, NOW)
    print_preview(Preview(HOSTILE, ahead, 1, True, window, begun=_a_report()), console)
    print_preview(Preview(HOSTILE, ahead, 1, True, planned_at=NOW), console)


def _what_next(console: Console) -> None:
    command = ["backfill", "--workflow-type", HOSTILE]
    print_what_next(_a_report(), command, None, console)
    kept = Path(HOSTILE.replace("\0", "") + ".jsonl")
    print_what_next(_a_report(dry_run=True), command, kept, console)
    print_what_next(_a_report(dry_run=True), command, None, console)


def _doctor(console: Console) -> None:
    settings = [ResolvedSetting(HOSTILE, HOSTILE, HOSTILE)]
    findings = [Finding(HOSTILE, level, HOSTILE, HOSTILE) for level in Level]
    print_examination(Examination(settings, findings), console)


PRINTED: dict[str, Printing] = {
    "explain": _explain,
    "passes": _passes,
    "changes": _changes,
    "undo": _undo,
    "report": lambda console: print_report(_a_report(), console),
    "preview": _preview,
    "what next": _what_next,
    "doctor": _doctor,
}


@pytest.mark.parametrize("printing", PRINTED.values(), ids=list(PRINTED))
@pytest.mark.parametrize("terminal", [True, False])
def test_hostile_text_is_shown_and_not_interpreted(
    printing: Printing, terminal: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TERM", "xterm-256color")
    output = io.StringIO()

    printing(Console(file=output, width=10_000, force_terminal=terminal, color_system=None))

    printed = output.getvalue()
    assert unseen(printed) - ({"\x1b"} if terminal else set()) == set()
    assert "\x1b[2J" not in printed
    assert "\x1b]" not in printed, "no link, no title"
    assert r"\x1b[2J" in printed or "a [2J" in printed
    assert "[red]b[/red] :smile:" in printed
    assert not any(line.startswith("2026-01-01 FORGED") for line in printed.splitlines())


def test_a_console_interprets_no_text() -> None:
    console = screen()
    with console.capture() as captured:
        console.print("[red]b[/red] :smile: 1.5")

    assert captured.get() == "[red]b[/red] :smile: 1.5\n"
