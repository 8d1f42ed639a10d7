"""Is it working? The rules, and the sentence that says it. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from reconciler.app.overview.model import DatedError, State

#: What fails, in the order in which it is named: the first may be the cause of the others.
_FAILING = {
    "PostgreSQL": "PostgreSQL cannot be used",
    "Temporal": "Temporal cannot be used",
    "pass": "The last pass failed",
    "lease": "The lease cannot be claimed",
    "feed": "The feed fails, so only passes find rows",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Situation:
    """What decides it."""

    #: As in `/readyz`.
    role: str
    #: What it waits for before it starts; None once both servers are connected.
    waiting_for: str | None = None
    #: What fails now, in any order.
    failing: Sequence[DatedError] = ()
    #: Why passes are not started, or no longer come in time; None if they do.
    late: str | None = None
    #: Whether a pass over every row has come to its end, in any process.
    has_passed: bool = True
    #: The process that holds the lease; None if nobody does, or that is not known.
    holder: str | None = None
    #: Without a journal there is no lease.
    journals: bool = True


def judge(now: Situation) -> tuple[State, str]:
    """The state, and one sentence about it."""
    if now.waiting_for is not None:
        return State.STARTING, f"Starting: {now.waiting_for}"
    if now.failing:
        return State.FAILING, _what_fails(now)
    if now.late is not None:
        return State.NOT_RUNNING, f"Not running: {now.late}{_by(now)}"
    if not now.has_passed:
        return State.STARTING, f"Starting: the first pass has not come to its end yet{_by(now)}"
    if now.role == "standby":
        return State.STANDBY, f"On standby: {now.holder or 'another replica'} makes the repairs"
    shared = "" if now.journals else "; so does every other replica, as RECONCILER_JOURNAL is off"
    return State.WORKING, f"Working: this replica makes the repairs{shared}"


def _what_fails(now: Situation) -> str:
    order = list(_FAILING)
    worst = min(now.failing, key=lambda each: order.index(each.what))
    others = f" (and {len(now.failing) - 1} more below)" if len(now.failing) > 1 else ""
    return f"Running, but failing{_by(now)}: {_FAILING[worst.what]}: {worst.text}{others}"


def _by(now: Situation) -> str:
    """Whose passes they are, if not this replica's."""
    if now.role != "standby":
        return ""
    return f" (the passes are made by {now.holder or 'another replica'})"
