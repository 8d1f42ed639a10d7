"""Do the clocks of this host, the database and Temporal agree? Pure."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta

from reconciler.core.own_use import CLOCK_SKEW
from reconciler.core.text import duration
from reconciler.doctor.findings import Finding, failure, not_measurable, ok, warning
from reconciler.postgres.connection.clock import TOLERANCE

HOST_CLOCK, TEMPORAL_CLOCK = "clock", "temporal clock"
#: The smallest difference between time zones, less what a row may wait for its workflow.
LEAST_OFFSET = timedelta(minutes=25)
_USE_NTP = "set both clocks by NTP"


def host_clock(ahead: timedelta, uncertainty: timedelta, grace: timedelta) -> Finding:
    """This host's clock against the database's, which is the one that passes use.

    An application on such a host may set the creation times of its rows itself. If the clock is
    ahead by `grace` or more, its rows stay too young for at least twice as long as they should.
    """
    least = abs(ahead) - uncertainty
    if least <= TOLERANCE:
        bound = max(abs(ahead) + uncertainty, timedelta(milliseconds=1))
        text = f"this host and the database differ by at most {duration(bound)}"
        return ok(HOST_CLOCK, text)
    which = "ahead of" if ahead > timedelta(0) else "behind"
    text = f"this host's clock is {duration(least)} {which} the database's"
    if ahead > timedelta(0) and least >= grace:
        text += ": passes use the database's, but rows dated by this host's are in the future"
        return failure(HOST_CLOCK, text, _USE_NTP)
    return warning(HOST_CLOCK, text, _USE_NTP)


def temporal_clock(
    after_insert: Sequence[timedelta],
    future: timedelta,
    grace: timedelta,
    zone: str | None = None,
) -> Finding:
    """Temporal's clock, as far as start times show it: no call returns Temporal's time.

    `after_insert`: for each workflow, its start by Temporal's clock minus the creation of its row
    by the database's; `future`: how far the latest start is ahead of this host's clock; `zone`: the
    one in which creation times are read, if they have none.
    """
    if not after_insert:
        why = (
            "only the start times of workflows show it, and Temporal knows none of the last rows: "
            "if it should, check RECONCILER_COLUMNS__WORKFLOW_ID and TEMPORAL_NAMESPACE"
        )
        return not_measurable(TEMPORAL_CLOCK, why)
    if future > CLOCK_SKEW:
        text = f"Temporal's clock is at least {duration(future)} ahead of this host's"
        return warning(TEMPORAL_CLOCK, f"{text}: a workflow started in the future", _USE_NTP)
    nearest = min(after_insert, key=abs)
    count, late = len(after_insert), nearest >= timedelta(0)
    which = "one running workflow" if count == 1 else f"the nearest of {count} running workflows"
    text = (
        f"{which} started {duration(nearest)} {'after' if late else 'before'} its row was created"
    )
    if -CLOCK_SKEW <= nearest <= grace:
        return ok(TEMPORAL_CLOCK, f"no skew: {text}")
    if zone is not None and abs(nearest) >= LEAST_OFFSET:
        text += f": created_at seems to be in another time zone than {zone}, in which it is read"
        return warning(TEMPORAL_CLOCK, text, "set RECONCILER_TIME_ZONE to the application's")
    return warning(
        TEMPORAL_CLOCK,
        f"{text}: the clocks differ, or rows are inserted that much "
        f"{'earlier' if late else 'later'}; if the clocks differ, rows without a run id cannot be "
        "matched by time",
        f"{_USE_NTP}, or store run ids",
    )
