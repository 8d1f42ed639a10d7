"""The table's index, its statuses, and the age of its running rows. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta

from reconciler.core.model import Closed, Missing, Observation, Open
from reconciler.core.status_review import StatusCounts
from reconciler.core.table_warnings import TableWarning
from reconciler.core.text import duration, plural
from reconciler.core.window import AgeSpread
from reconciler.doctor.findings import Finding, ok, warning
from reconciler.postgres.diagnose.read_plan import IndexState, ReadPlan

TABLE, STATUSES, INDEX, OLDEST = "table", "statuses", "index", "oldest row"
#: The share of the retention at which Temporal is asked whether outcomes are about to be lost.
NEAR = 0.8


def index(plan: ReadPlan, statement: str) -> Finding:
    """Whether a page of running rows can be read without reading the other rows.

    `statement` builds an index like ours, where `migrate` does not.
    """
    if plan.served:
        return ok(INDEX, f"a page is read by {plan.scans}")
    if plan.servable:
        text = f"usable; for now the planner prefers {plan.scans}: few rows, or most of them run"
        return ok(INDEX, text)
    text, fix = _why_unused(plan, f"run ANALYZE on the table, or {statement}")
    return warning(INDEX, f"{text}: each pass reads the whole table ({plan.scans})", fix)


def lookup(plan: ReadPlan) -> Sequence[Finding]:
    """Whether the running rows of workflow ids can be found without reading the others."""
    if plan.servable:
        return []
    text, fix = _why_unused(plan, "run ANALYZE on the table")
    text += ": each look-up of the closings feed reads all running rows"
    return [warning(INDEX, text, fix)]


def _why_unused(plan: ReadPlan, otherwise: str) -> tuple[str, str]:
    """Why no index serves, and what to do."""
    if plan.index is IndexState.BROKEN:
        return f"{plan.name} is invalid", "run `reconciler migrate`, which rebuilds it"
    if plan.index is IndexState.THERE:
        return "the planner uses no index", otherwise
    text = f"{plan.name} is missing"
    if plan.others:  # then `migrate` gives it another name
        others = ", ".join(plan.others)
        text = f"the index is missing ({others} is for other columns or running values)"
    return text, "run `reconciler migrate`"


def shared_ids(column: str, statement: str) -> Finding:
    """No index finds the other rows of a workflow id, and some rows make that necessary."""
    text = (
        f"none begins with {column}: to finish rows without a run id, a pass searches the whole "
        "table for other rows of their workflow ids"
    )
    return warning(INDEX, text, statement)


def keys(column: str, statement: str) -> Finding:
    """No index finds a row by its key, which is only part of a composite one."""
    text = f"none begins with {column}: undo and plans search the whole table for each page of rows"
    return warning(INDEX, text, statement)


def statuses(found: StatusCounts, suspicious: Sequence[TableWarning]) -> Sequence[Finding]:
    """The values of the status column, or what is suspicious about them."""
    if suspicious:
        return [warning(STATUSES, each.problem, each.fix) for each in suspicious]
    return [ok(STATUSES, found.text(found.counts) or "there are no rows yet")]


def oldest_row(
    running: AgeSpread,
    now: datetime,
    retention: timedelta | None,
    near: Sequence[tuple[Observation, timedelta]],
) -> Finding:
    """Whether outcomes are about to be lost, or have been.

    `retention` is None where rows belong to several namespaces. `near` holds the oldest running
    rows that are older than `NEAR` of their namespace's retention: Temporal's answer about each,
    and that retention. Age alone loses nothing: the retention counts from a workflow's end, and a
    workflow may run for years.
    """
    rows = plural(running.rows, "running row")
    if running.oldest is None:
        none = ", none of them with a creation time" if running.rows else ""
        return ok(OLDEST, f"{rows}{none}")
    text = f"{rows}, the oldest {duration(now - running.oldest)} old, "
    text += "in several namespaces" if retention is None else f"retention {duration(retention)}"
    if not near:
        return ok(OLDEST, text)
    oldest, are = ("the oldest", "is") if len(near) == 1 else (f"the oldest {len(near)}", "are")
    if problems := list(_problems(near, now)):
        texts, fixes = zip(*problems, strict=True)
        return warning(OLDEST, f"{text}; of {oldest}, {', '.join(texts)}", "; ".join(fixes))
    return ok(OLDEST, f"{text}; {oldest} {are} open in Temporal, so nothing is lost")


def _problems(
    near: Sequence[tuple[Observation, timedelta]], now: datetime
) -> Iterator[tuple[str, str]]:
    """What is wrong with old rows, and how to fix it."""
    left = [kept - (now - each.close_time) for each, kept in near if isinstance(each, Closed)]
    missing = sum(isinstance(each, Missing) for each, _ in near)
    unknown = len(near) - len(left) - missing - sum(isinstance(each, Open) for each, _ in near)
    if left:
        soonest = duration(max(min(left), timedelta(0)))
        yield (
            f"{len(left)} ended, and Temporal forgets how in {soonest}",
            "run `reconciler once`, and see in `reconciler passes` why no pass has done it",
        )
    if missing:
        text = f"{missing} not in Temporal: never started, deleted or past the retention"
        yield text, "run `reconciler backfill`, which writes nothing, to see them all"
    if unknown:
        yield f"{unknown} cannot be judged", "run `reconciler explain` with the workflow ids"


def is_near(age: timedelta, retention: timedelta) -> bool:
    """Whether a row is so old that Temporal may be about to forget how its workflow ended."""
    return age >= NEAR * retention
