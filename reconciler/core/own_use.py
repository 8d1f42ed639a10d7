"""Whose run was it, if the row has no run id? Pure; for passes and for the main path.

A use of a workflow id is one chain of runs, whatever continued, retried or reset it. A row's own
use is the one that was open when the row was created, or else the first that started afterwards.
The row is finished by it only if nothing contradicts that:

| | |
|---|---|
| the row is older than the retention | earlier uses may be gone: left |
| the id's last use had closed when the row was created | none is the row's own: left |
| visibility lists another use since the row was created | left |
| another row stores the use's run id, or ended while or after it ran | it is that row's: left |
| another row was created nearer before its start | it is that row's: left |
| another row fits as well | left |

Times of rows are the database's, those of runs are Temporal's: the clocks may differ by
`CLOCK_SKEW`. `postgres.rows.rivals` states `claim_of` in SQL: passes read with it the rows that it
is then applied to, and the main path, which knows the use but lists no other, chooses its row.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from enum import Enum
from typing import TypeAlias

from reconciler.core.model import Closed, Missing, Rival, RunRow, Unknown, Use
from reconciler.core.text import iso

_Doubt: TypeAlias = Missing | Unknown | None

#: How far the clocks of the database and of Temporal may differ.
CLOCK_SKEW = timedelta(seconds=2)
#: Uses and rows that a message names.
NAMED = 3
#: How far a time may be off whose time zone is not known: no zone is further from UTC.
FURTHEST_ZONE = timedelta(hours=14)
#: Why a row may be younger or older than it looks.
ZONE_UNKNOWN = "its creation time has no time zone, and RECONCILER_TIME_ZONE is not set"


@dataclass(frozen=True, slots=True)
class Chain:
    """A use of a workflow id that has closed, and what identifies it."""

    first_run_id: str
    last_run_id: str
    started_at: datetime
    closed_at: datetime

    def covers(self, created_at: datetime) -> bool:
        """Whether a row that was created then may be its own: not after it had closed."""
        return created_at <= self.closed_at + CLOCK_SKEW

    @property
    def is_single_run(self) -> bool:
        """Whether it was never continued, retried or reset, and so was open all the time."""
        return self.first_run_id == self.last_run_id


class Claim(Enum):
    """Why a use is another row's, or may be."""

    STORES = "stores its run id"
    ENDED = "ended while it ran, or later"
    NEARER = "was created nearer to its start"
    EQUAL = "fits it as well"


def claim_of(
    other: Rival, created_at: datetime, chain: Chain, off: timedelta = timedelta(0)
) -> Claim | None:
    """The claim of another row of the workflow id to this use, against a row without a run id.

    `created_at` is that row's. Of several rows that were created before the use started (or within
    the skew of that), the youngest is its own; if there is none, the oldest of those created since.
    `off`: how far times of rows may be off. Then which of them is nearest is not known.
    """
    run_id = (other.row.run_id or "").lower()
    if run_id:
        return Claim.STORES if run_id in (chain.first_run_id, chain.last_run_id) else None
    made, ended = other.row.created_at, other.ended_at
    if ended is not None and ended + off < chain.started_at - CLOCK_SKEW:
        return None  # it belongs to an earlier use
    if made is not None and not chain.covers(made - off):
        return None
    if off:
        return Claim.EQUAL
    if ended is not None:
        return Claim.ENDED
    return Claim.EQUAL if made is None else _claim_by_time(made, created_at, chain.started_at)


def _claim_by_time(other: datetime, created_at: datetime, started: datetime) -> Claim | None:
    earliest, latest = started - CLOCK_SKEW, started + CLOCK_SKEW
    if created_at > latest:
        if other > created_at:
            return None
        return Claim.EQUAL if other == created_at else Claim.NEARER
    if not min(created_at, earliest) <= other <= latest:
        return None
    # Which of two was created before the start is in doubt if both were at about that time.
    return Claim.EQUAL if other == created_at or created_at >= earliest else Claim.NEARER


def check_times(
    row: RunRow, closed: Closed, now: datetime, retention: timedelta, off: timedelta = timedelta(0)
) -> _Doubt:
    """Why the use that has closed cannot be the row's by their times; None if it can be.

    The id's current use is the only one that can be: if it is not, it is another use since the row
    was created.
    """
    if row.created_at is None or closed.start is None:
        return Unknown("it is not known whose run it was that ended")
    if now - row.created_at >= retention:
        why = f"{_run_of(closed)} may not be its own: earlier uses of its id are past the retention"
        return _not_its_own(closed, why)
    if row.created_at > closed.close_time + CLOCK_SKEW:
        if off and row.created_at - off <= closed.close_time + CLOCK_SKEW:
            return Unknown(f"{_run_of(closed)} may have ended before the row: {ZONE_UNKNOWN}")
        return _not_its_own(closed, f"{_run_of(closed)} ended before the row was created")
    if now - row.created_at + off >= retention:
        return Unknown(f"earlier uses of its id may be past the retention: {ZONE_UNKNOWN}")
    if closed.start.at is None:
        return Unknown(f"no run id, and the first run of the chain of {_run_of(closed)} is gone")
    return None


def check_rivals(
    row: RunRow,
    closed: Closed,
    rivals: Sequence[Rival] | Unknown,
    namespace: str,
    off: timedelta = timedelta(0),
) -> _Doubt:
    """Why the use belongs to another row, or may; None if no other row has a claim.

    `namespace` is that of rows that name none. `check_times` must have found no doubt.
    """
    if isinstance(rivals, Unknown):
        return rivals
    chain = chain_of(closed)
    assert chain is not None and row.created_at is not None  # noqa: S101, PT018 - checked before
    claims = {
        rival.row.id: claim
        for rival in rivals
        if _is_same_id(rival.row, row, namespace)
        and (claim := claim_of(rival, row.created_at, chain, off)) is not None
    }
    certain = {id_: claim for id_, claim in claims.items() if claim is not Claim.EQUAL}
    rows = [f"row {id_}, which {claim.value}" for id_, claim in (certain or claims).items()]
    if certain:
        return _not_its_own(closed, f"{_run_of(closed)} is that of {_listed(rows)}")
    if claims:
        why = f"the row has no run id, and {_run_of(closed)} may be that of {_listed(rows)}"
        return Unknown(f"{why}: {ZONE_UNKNOWN}" if off else why)
    return None


def check_uses(row: RunRow, uses: Iterable[Use] | Unknown) -> _Doubt:
    """Why the use may not be the row's own: the id has had others since the row was created."""
    if isinstance(uses, Unknown):
        return uses
    assert row.created_at is not None  # noqa: S101 - checked before
    since = row.created_at - CLOCK_SKEW
    others = [use for use in uses if use.closed_at is None or use.closed_at >= since]
    if not others:
        return None
    return Unknown(
        "no run id, and its workflow id has had another use since the row was created: run "
        + _listed([f"{use.run_id}, started {iso(use.started_at)}" for use in others])
    )


def made_earlier(row: RunRow, off: timedelta) -> RunRow:
    """The row as if it had been created so much earlier: uses since then are other uses too."""
    return replace(row, created_at=row.created_at - off) if off and row.created_at else row


def leaves_no_time(row: RunRow, chain: Chain) -> bool:
    """Whether there cannot have been another use since the row was created.

    So it is if the id's current use is a single run that was open at that time.
    """
    assert row.created_at is not None  # noqa: S101 - checked before
    return chain.is_single_run and chain.started_at <= row.created_at - CLOCK_SKEW


def chain_of(closed: Closed) -> Chain | None:
    """The use that has closed; None if it is not known how it began."""
    if closed.start is None or closed.start.at is None:
        return None
    return Chain(closed.start.run_id, closed.run_id, closed.start.at, closed.close_time)


def _not_its_own(closed: Closed, why: str) -> Missing:
    return Missing(why, id_in_use=True, retention=closed.retention)


def _run_of(closed: Closed) -> str:
    return f"run {closed.run_id}"


def _listed(texts: Sequence[str]) -> str:
    more = f" and {len(texts) - NAMED} more" if len(texts) > NAMED else ""
    return "; ".join(texts[:NAMED]) + more


def _is_same_id(row: RunRow, other: RunRow, namespace: str) -> bool:
    """Whether both rows name the same workflow id of the same namespace."""
    spaces = {each.namespace or namespace for each in (row, other)}
    return row.workflow_id == other.workflow_id and len(spaces) == 1
