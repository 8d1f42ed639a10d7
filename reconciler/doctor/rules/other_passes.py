"""Who else passes over the table: the loop that should, and whoever should not. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from itertools import combinations, groupby

from reconciler.core.model import Mode
from reconciler.core.text import duration, one_line
from reconciler.doctor.findings import LIMIT, Finding, ok, warning
from reconciler.postgres.journal.entries import StoredPass
from reconciler.postgres.journal.lease import HeldLease
from reconciler.postgres.table.mapping import ANY_NAMESPACE

LEASE, PASSES = "lease", "passes"
#: Passes of this time are looked at, and those of another namespace in a day.
RECENT, LATELY = timedelta(hours=1), timedelta(days=1)
#: What happens once may be somebody who looks after something; what happens again is a timer.
AGAIN = 2
_WHOLE = [mode for mode in Mode if mode.is_whole]


def lease(held: Sequence[HeldLease], table: str, namespace: str) -> Finding:
    """Who is at work just now. That is as it should be: another replica stands by.

    Not so in another namespace: what is running there is not found in ours, and the other way.
    """
    kinds = [(each, each.kind(table)) for each in held]
    of_table = [(each, kind) for each, kind in kinds if kind is not None]
    if others := [each for each, _ in of_table if each.namespace != namespace]:
        where = {each.namespace: f"by {each.holder}" for each in others}
        return _other_namespace(LEASE, table, where, namespace)
    if not of_table:
        return ok(LEASE, "free: neither a loop nor a backfill is at work")
    told = [f"held by {each.holder} for a {kind or 'loop'}" for each, kind in of_table]
    if any(not kind for _, kind in of_table):
        told.append("another loop would stand by")
    return ok(LEASE, "; ".join(told))


def passes(stored: Sequence[StoredPass], table: str, namespace: str, now: datetime) -> Finding:
    """The passes of late, newest first: whether they work, and whether there are too many."""
    of_table = [each for each in stored if each.table == table]
    lately = [each for each in of_table if now - each.started_at <= LATELY]
    where = {
        each.namespace: f"on {each.host}"
        for each in lately
        if each.namespace is not None and each.namespace != namespace
    }
    if where:
        return _other_namespace(PASSES, table, where, namespace)
    whole = [each for each in of_table if each.mode in _WHOLE and each.namespace == namespace]
    ended = next((each for each in whole if each.finished_at is not None), None)
    if ended is None or ended.finished_at is None:
        return ok(PASSES, "no pass over every row has come to its end yet")
    ago = duration(now - ended.finished_at)
    last = f"the last pass ({ended.mode} on {ended.host}) ended {ago} ago"
    if ended.outcome == "aborted":
        text = f"{last}, aborted: {ended.error or 'it was stopped'}"
        return warning(PASSES, one_line(text, LIMIT), "see its log")
    if twice := _twice(each for each in whole if now - each.started_at <= RECENT):
        return warning(
            PASSES, f"{last}; {twice}: the same work is done twice", "use one, and stop the other"
        )
    return ok(PASSES, f"{last}, {ended.outcome}")


def _other_namespace(check: str, table: str, where: Mapping[str, str], ours: str) -> Finding:
    """Passes over the same rows that take them to be of other namespaces; `where`, and whose."""
    kinds = {ANY_NAMESPACE: "each row's own namespace"}
    named = (f"{kinds.get(name, f'namespace {name!r}')} {whose}" for name, whose in where.items())
    told = f"somebody passes over {table} in {', '.join(named)}"
    missing = "rows that name another are taken for missing"
    if ours == ANY_NAMESPACE:
        so, fix = f"there {missing}", "set RECONCILER_COLUMNS__NAMESPACE there as it is here"
    elif ANY_NAMESPACE in where:
        so, fix = f"here {missing}", "set RECONCILER_COLUMNS__NAMESPACE here as it is there"
    else:
        so = "each finds the rows of the other missing"
        fix = (
            "check TEMPORAL_NAMESPACE here and there; a table belongs to one namespace, "
            "or has a column for it"
        )
    return warning(check, f"{told}: {so}", fix)


def _twice(recent: Iterable[StoredPass]) -> str:
    """Which timers do the same work; empty if no two do. Replicas of the loop share a lease."""
    # A host's timer, or the loop, which is one wherever it is.
    timers = [each.host if each.mode == Mode.ONCE else "" for each in recent if each.mode in _WHOLE]
    often = [each for each, count in Counter(timers).items() if count >= AGAIN]
    crons = sorted(filter(None, often))
    if "" in often and (others := [each for each in crons if _alternate(timers, "", each)]):
        return f"in the last hour a loop and `once` on {', '.join(others)}"
    both = {host for pair in combinations(crons, 2) if _alternate(timers, *pair) for host in pair}
    return f"in the last hour `once` on {', '.join(sorted(both))}" if both else ""


def _alternate(timers: Sequence[str], one: str, other: str) -> bool:
    """Whether one goes on after the other has, both ways: else one has taken the other's place."""
    turns = [timer for timer, _ in groupby(each for each in timers if each in (one, other))]
    return len(turns) >= 2 * AGAIN
