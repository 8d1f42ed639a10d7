"""Who else runs passes over the table: the loop that should, and others that should not. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from itertools import combinations, groupby

from reconciler.core.model import Mode
from reconciler.core.text import duration
from reconciler.doctor.findings import Finding, failure, ok, warning
from reconciler.postgres.journal.entries import StoredPass
from reconciler.postgres.journal.lease import HeldLease
from reconciler.postgres.table.mapping import ANY_NAMESPACE

LEASE, PASSES = "lease", "passes"
#: How far back to look for the same work done twice, and for passes in another namespace.
RECENT, LAST_DAY = timedelta(hours=1), timedelta(days=1)
#: One pass may be somebody at a terminal; more of them are a timer.
REPEATED = 2
_WHOLE = [mode for mode in Mode if mode.is_whole]


def lease(held: Sequence[HeldLease], table: str, namespace: str, *, fails: bool = False) -> Finding:
    """Who holds the lease. That is fine: another replica would be on standby.

    A holder in another namespace is not: each finds the workflows of the other missing, and if that
    `fails` rows here, they get a wrong status.
    """
    kinds = [(each, each.kind(table)) for each in held]
    of_table = [(each, kind) for each, kind in kinds if kind is not None]
    if others := {
        each.namespace: each.holder for each, _ in of_table if each.namespace != namespace
    }:
        return _other_namespace(LEASE, table, others, namespace, fails=fails)
    if not of_table:
        return ok(LEASE, "free: no loop and no backfill is running")
    texts = [f"held by {each.holder} for a {kind or 'loop'}" for each, kind in of_table]
    if any(not kind for _, kind in of_table):
        texts.append("another loop would be on standby")
    return ok(LEASE, "; ".join(texts))


def passes(
    stored: Sequence[StoredPass],
    table: str,
    namespace: str,
    now: datetime,
    *,
    fails: bool = False,
) -> Finding:
    """Whether recent passes succeed, and whether the same work is done twice. Newest first.

    `fails`: whether rows that Temporal does not know are failed.
    """
    of_table = [each for each in stored if each.table == table]
    if others := {
        each.namespace: each.host
        for each in of_table
        if each.namespace not in (None, namespace) and now - each.started_at <= LAST_DAY
    }:
        return _other_namespace(PASSES, table, others, namespace, fails=fails)
    whole = [each for each in of_table if each.mode in _WHOLE and each.namespace == namespace]
    ended = next((each for each in whole if each.finished_at is not None), None)
    if ended is None or ended.finished_at is None:
        return ok(PASSES, "no pass over every row has ended yet")
    ago = duration(now - ended.finished_at)
    last = f"the last pass ({ended.mode} on {ended.host}) ended {ago} ago"
    if ended.outcome == "aborted":
        text = f"{last}, aborted: {ended.error or 'it was stopped'}"
        return warning(PASSES, text, "see its log")
    if twice := _twice(each for each in whole if now - each.started_at <= RECENT):
        text = f"{last}; {twice}: the same work is done twice"
        return warning(PASSES, text, "use one, and stop the other")
    return ok(PASSES, f"{last}, {ended.outcome}")


def _other_namespace(
    check: str, table: str, others: Mapping[str, str], ours: str, *, fails: bool
) -> Finding:
    """Others run passes over the same rows in other namespaces; `others` says who, for each."""
    names = {name: f"namespace {name!r}" for name in others}
    names[ANY_NAMESPACE] = "each row's own namespace"
    where = ", ".join(f"{names[name]} ({who})" for name, who in others.items())
    missing = "rows that name another namespace count as missing"
    if ours == ANY_NAMESPACE:
        effect, fix = f"there {missing}", "set RECONCILER_COLUMNS__NAMESPACE there as it is here"
    elif ANY_NAMESPACE in others:
        effect, fix = f"here {missing}", "set RECONCILER_COLUMNS__NAMESPACE here as it is there"
    else:
        effect = "each finds the rows of the other missing"
        fix = (
            "check TEMPORAL_NAMESPACE here and there; a table belongs to one namespace, "
            "or has a column for it"
        )
    text = f"others run passes over {table} in {where}: {effect}"
    if fails:
        text += ", and with RECONCILER_MISSING=fail they are failed"
        return failure(check, text, f"{fix}; or divide the rows with RECONCILER_WHERE")
    return warning(check, text, fix)


def _twice(recent: Iterable[StoredPass]) -> str:
    """Which timers do the same work; empty if no two do. Replicas of a loop share a lease."""
    # A timer is a host with `once`, or the loop (""), which is one wherever it runs.
    timers = [each.host if each.mode == Mode.ONCE else "" for each in recent]
    often = [timer for timer, count in Counter(timers).items() if count >= REPEATED]
    crons = sorted(filter(None, often))
    if "" in often and (others := [each for each in crons if _alternate(timers, "", each)]):
        return f"in the last hour a loop and `once` on {', '.join(others)}"
    both = {host for pair in combinations(crons, 2) if _alternate(timers, *pair) for host in pair}
    return f"in the last hour `once` on {', '.join(sorted(both))}" if both else ""


def _alternate(timers: Sequence[str], one: str, other: str) -> bool:
    """Whether both have gone on: otherwise one of them has replaced the other."""
    turns = [timer for timer, _ in groupby(each for each in timers if each in (one, other))]
    return len(turns) >= 2 * REPEATED
