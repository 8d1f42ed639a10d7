"""From what was measured to what is said about it: everything that is judged. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta

from reconciler.core.model import Closed, Missing, Observation, Open
from reconciler.core.text import duration, one_line, plural
from reconciler.core.window import AgeSpread
from reconciler.doctor.findings import Finding, ok, warning
from reconciler.postgres.diagnose.page_plan import IndexState, PagePlan
from reconciler.temporal.client.namespace import Namespace
from reconciler.temporal.client.server import LOWEST, is_too_old

#: A server that is farther away makes every pass slow.
SLOW = timedelta(seconds=1)
#: Share of the retention from which on it is looked whether outcomes are about to be lost.
NEAR = 0.8
#: With less, a weekend without the reconciler loses outcomes.
SHORT_RETENTION = timedelta(days=1)

#: Statuses that are named.
MOST_STATUSES = 5

INDEX, NAMESPACE, OLDEST, TEMPORAL = "index", "namespace", "oldest row", "temporal"
TABLE = "table"


def connected(check: str, message: str, round_trip: timedelta | None) -> Finding:
    """A connection, with its round-trip time if that is known."""
    if round_trip is None:
        return ok(check, message)
    told = f"{message}, round trip {duration(round_trip)}"
    if round_trip > SLOW:
        return warning(check, told, "run the reconciler near its servers: every call takes as long")
    return ok(check, told)


def temporal(target: str, version: str | None, round_trip: timedelta | None) -> Finding:
    """The connection to Temporal's server, and its version if it says one."""
    if not version:
        return connected(TEMPORAL, f"Temporal at {target} does not say its version", round_trip)
    told = f"Temporal {one_line(version, 40)} at {target}"
    if not is_too_old(version):
        return connected(TEMPORAL, told, round_trip)
    lowest = ".".join(map(str, LOWEST))
    told += f" is older than {lowest}, and does not say all that a pass needs to know"
    return warning(TEMPORAL, told, f"upgrade Temporal to {lowest} or newer (docs/temporal.md)")


def namespace(found: Namespace) -> Finding:
    """The namespace and how long it keeps what has closed."""
    told = f"{found.name}, keeps closed workflows for {duration(found.retention)}"
    if found.archives_history:
        told += ", archives their histories"
    elif found.retention < SHORT_RETENTION:
        fix = "set a longer retention: `temporal operator namespace update --retention 72h`"
        return warning(NAMESPACE, f"{told}: what happens in an outage as long is lost", fix)
    return ok(NAMESPACE, told)


def index(plan: PagePlan, name: str, statement: str) -> Finding:
    """Whether a page of running rows can be read without reading the others.

    `name` is that of our index; `statement` builds one like it, where `migrate` does not.
    """
    if plan.served:
        return ok(INDEX, f"a page is read by {plan.scans}")
    if plan.servable:
        told = f"usable; for now the planner prefers {plan.scans}: few rows, or most of them run"
        return ok(INDEX, told)
    if plan.index is IndexState.MISSING:
        told, fix = f"{name} is missing", "run `reconciler migrate`"
    elif plan.index is IndexState.BROKEN:
        told = f"{name} is invalid, or for another key or status value"
        fix = "run `reconciler migrate`, which rebuilds it"
    else:
        told, fix = "no index serves", f"run ANALYZE on the table, or {statement}"
    return warning(INDEX, f"{told}: each pass reads all the rows there are ({plan.scans})", fix)


def shared_ids(column: str, statement: str) -> Finding:
    """No index finds other rows of a workflow id, and there are rows that have to be looked for."""
    told = (
        f"none begins with {column}: where rows without a run id have ended, the other rows of "
        "their workflow ids are looked for in the whole table"
    )
    return warning(INDEX, told, statement)


def strange_statuses(running: Sequence[str], strange: Sequence[str]) -> Finding:
    """No row has ever been running, and some have statuses that stand for nothing."""
    values = ", ".join(repr(one_line(each, 40)) for each in strange[:MOST_STATUSES])
    more = ", …" if len(strange) > MOST_STATUSES else ""
    told = (
        f"no row is {' or '.join(map(repr, running))}, nor has a pass found one; rows are "
        f"{values}{more}, which no setting names: nothing would ever be repaired"
    )
    return warning(TABLE, told, "check RECONCILER_STATUSES__RUNNING")


def oldest_row(
    running: AgeSpread,
    now: datetime,
    retention: timedelta | None,
    near: Sequence[tuple[Observation, timedelta]],
) -> Finding:
    """Whether outcomes are about to be lost, or have been.

    `retention` is None where rows are of several namespaces. `near`: what Temporal says about
    those of the oldest running rows that are older than `NEAR` of their namespace's retention, and
    that retention. A row's age alone loses nothing: the retention counts from a workflow's end, and
    one may run for years.
    """
    rows = plural(running.rows, "running row")
    if running.oldest is None:
        none = ", none of them with a creation time" if running.rows else ""
        return ok(OLDEST, f"{rows}{none}")
    told = f"{rows}, the oldest {duration(now - running.oldest)} old, "
    told += "in several namespaces" if retention is None else f"retention {duration(retention)}"
    if not near:
        return ok(OLDEST, told)
    still = f"of the oldest {len(near)}" if len(near) > 1 else "of the oldest"
    if worries := list(_worries(near, now)):
        whats, fixes = zip(*worries, strict=True)
        return warning(OLDEST, f"{told}; {still}, {', '.join(whats)}", "; ".join(fixes))
    return ok(OLDEST, f"{told}; {len(near)} {still} are open in Temporal, and lose nothing")


def _worries(
    near: Sequence[tuple[Observation, timedelta]], now: datetime
) -> Iterator[tuple[str, str]]:
    """What is wrong with old rows, and what to do."""
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
        what = f"{missing} not in Temporal: never started, deleted or past the retention"
        yield what, "run `reconciler backfill`, which writes nothing, to see them all"
    if unknown:
        yield f"{unknown} cannot be judged", "run `reconciler explain` with the workflow ids"


def is_near(age: timedelta, retention: timedelta) -> bool:
    """Whether a row is so old that Temporal may be about to forget how its workflow ended."""
    return age >= NEAR * retention
