"""What can fire on a write, and what a write that was tried has shown. Pure."""

from __future__ import annotations

from collections.abc import Sequence

from reconciler.core.text import one_line, plural
from reconciler.doctor.findings import Finding, failure, not_checked, ok, warning
from reconciler.postgres.diagnose.trial import Trial
from reconciler.postgres.diagnose.triggers import Trigger

TRIGGERS, LAST_CHANGE, WRITE = "triggers", "last change", "write"
#: Triggers that a message names.
MOST = 6


def triggers(found: Sequence[Trigger], table: str) -> Finding:
    """The triggers that a write can fire."""
    named = ", ".join(_describe(each, table) for each in found[:MOST])
    more = f", and {len(found) - MOST} more" if len(found) > MOST else ""
    return ok(TRIGGERS, f"{plural(len(found), 'trigger')} can fire on a write: {named}{more}")


def last_change(column: str) -> Finding:
    """A column that readers may rely on, and that no write of a pass sets."""
    text = f"passes do not set {column}, and neither does a trigger: if readers rely on it, set "
    return ok(LAST_CHANGE, f"{text}RECONCILER_COLUMNS__UPDATED_AT={column}")


def _describe(trigger: Trigger, table: str) -> str:
    of = "" if trigger.table == table else f" on {trigger.table}"
    return one_line(f"{trigger.name}{of} ({trigger.timing}, {trigger.function})", 150)


def tried(trial: Trial, found: Sequence[Trigger]) -> Finding:
    """What became of a write in which each end was tried."""
    if trial.row_id is None:
        return not_checked(WRITE, trial.untried)
    works = [name for name, problem in trial.problems.items() if not problem]
    if len(works) == len(trial.problems):
        return ok(WRITE, f"row {trial.row_id} can become {', '.join(works)}; rolled back")
    problems: dict[str, list[str]] = {}
    for name, problem in trial.problems.items():
        if problem:
            problems.setdefault(problem, []).append(name)
    texts = [f"{', '.join(names)}: {problem}" for problem, names in problems.items()]
    text = f"row {trial.row_id} cannot become {'; nor '.join(texts)}"
    fix = "change the trigger or the constraint, so that every end can be written"
    if len(found) == 1:
        fix = f"change {found[0].function} or the constraint, so that every end can be written"
    return (warning if works else failure)(WRITE, text, fix)
