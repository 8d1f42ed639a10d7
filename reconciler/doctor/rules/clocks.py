"""Whose clock is right: this host's, the database's, Temporal's. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta

from reconciler.core.text import duration
from reconciler.doctor.findings import Finding, failure, not_measurable, ok, warning
from reconciler.postgres.connection.clock import TOLERANCE
from reconciler.temporal.observe.visibility import CLOCK_SKEW

HOST, TEMPORAL = "clock", "temporal clock"
_BY_NTP = "set the clocks of both by NTP"


def host_clock(ahead: timedelta, uncertainty: timedelta, grace: timedelta) -> Finding:
    """This host's clock against the database's, which is the one that passes use.

    An application on such a host may date its rows itself. If it is ahead by `grace` or more, its
    rows stay too young for at least twice as long as they should.
    """
    least = abs(ahead) - uncertainty
    if least <= TOLERANCE:
        bound = max(abs(ahead) + uncertainty, timedelta(milliseconds=1))
        return ok(HOST, f"this host and the database differ by {duration(bound)} at most")
    which = "ahead of" if ahead > timedelta(0) else "behind"
    told = f"this host's clock is {duration(least)} {which} the database's"
    if ahead > timedelta(0) and least >= grace:
        so = "passes use the database's, but rows dated by this host's are in the future"
        return failure(HOST, f"{told}: {so}", _BY_NTP)
    return warning(HOST, told, _BY_NTP)


def temporal_clock(
    after_insert: Sequence[timedelta], future: timedelta, grace: timedelta
) -> Finding:
    """Temporal's clock, as far as start times tell: there is no call that would.

    `after_insert`: how long after its row was created each workflow has started, by the clock of
    either; `future`: by how much the last of them started later than it is now on this host.
    """
    if not after_insert:
        why = "it shows in the starts of workflows alone, and Temporal knows that of no running row"
        return not_measurable(TEMPORAL, why)
    if future > CLOCK_SKEW:
        told = f"Temporal's clock is at least {duration(future)} ahead of this host's"
        return warning(TEMPORAL, f"{told}: a workflow has started in the future", _BY_NTP)
    nearest = min(after_insert, key=abs)
    count, late = len(after_insert), nearest >= timedelta(0)
    who = "one running workflow" if count == 1 else f"the nearest of {count} running workflows"
    told = f"{who} started {duration(nearest)} {'after' if late else 'before'} its row was created"
    if -CLOCK_SKEW <= nearest <= grace:
        return ok(TEMPORAL, f"no skew to be seen: {told}")
    where = "earlier" if late else "later"
    return warning(
        TEMPORAL,
        f"{told}: the clocks differ, or rows are inserted that much {where}, and one without "
        "a run id is not found by its time",
        f"{_BY_NTP}, or store run ids" + (", or raise RECONCILER_GRACE" if late else ""),
    )
