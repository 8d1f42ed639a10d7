"""What the page shows, as data: nothing here is escaped, formatted or secret."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum

from reconciler.app.explain import Explanation
from reconciler.core.model import Observation
from reconciler.core.stuck.condition import Condition, Group, RowAtRisk
from reconciler.postgres.journal.entries import StoredChange, StoredPass
from reconciler.postgres.journal.recent import Losing


class State(StrEnum):
    """Whether it is working; the first that applies."""

    #: A server was never reached yet.
    STARTING = "starting"
    #: Another replica holds the lease, and its passes come in time.
    STANDBY = "standby"
    #: Passes or polls are tried, and fail.
    FAILING = "failing"
    #: Nobody holds the lease, or no pass was started in time.
    NOT_RUNNING = "not running"
    WORKING = "working"


@dataclass(frozen=True, slots=True)
class DatedError:
    """What went wrong, and when it last did."""

    at: datetime
    #: Such as `PostgreSQL`, `Temporal`, `pass`, `feed`, `lease`.
    what: str
    #: One line.
    text: str
    #: Whether what failed works again.
    over: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Server:
    """A server, and whether it answers."""

    #: `PostgreSQL` or `Temporal`.
    name: str
    #: Host and database, or address and namespace; never a password.
    where: str
    #: None while it was not asked.
    reachable: bool | None
    #: Since when it has not answered; None if it does, or was not asked.
    since: datetime | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Working:
    """Is it working?"""

    state: State
    #: One sentence.
    headline: str
    #: Of this replica: `holder`, `standby`, `waiting` or `starting`, as in `/readyz`.
    role: str
    #: The process that holds the lease; None if nobody does, or that is not known.
    holder: str | None
    last_good_at: datetime | None
    #: The id of the last good pass over every row.
    last_good_pass: str | None
    #: None if this replica starts none.
    next_pass_at: datetime | None
    servers: tuple[Server, ...]
    #: One sentence.
    feed: str
    #: Since the last complete poll began; None if it is not followed here.
    feed_lag: timedelta | None
    #: The last of each kind, newest first, at most five; also past ones.
    errors: tuple[DatedError, ...]


@dataclass(frozen=True, slots=True)
class Hour:
    """The rows that were repaired in an hour, by the status written."""

    begins_at: datetime
    rows: Mapping[str, int]


@dataclass(frozen=True, slots=True, kw_only=True)
class Repaired:
    """What was repaired?"""

    #: 24, oldest first; the last is the present one.
    hours: tuple[Hour, ...]
    #: Those of the settings, in their order, whether they occur or not; then others that occur.
    statuses: tuple[str, ...]
    #: In these hours.
    total: int
    #: At most 20, newest first, whenever they were made.
    newest: tuple[StoredChange, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Stuck:
    """What is stuck, and why?"""

    #: At most 20, largest first.
    groups: tuple[Group, ...]
    #: In all groups.
    rows: int
    groups_left_out: int
    #: When the last pass over the rows ended; None if none has.
    checked_at: datetime | None
    #: The most that a row usually waits to be judged again; zero: each pass judges it.
    judged_every: timedelta = timedelta()


@dataclass(frozen=True, slots=True, kw_only=True)
class AtRisk:
    """What is about to be lost?"""

    #: At most 20, those that are lost soonest first.
    rows: tuple[RowAtRisk, ...]
    #: All of them, by reason.
    counts: Mapping[str, int]
    #: How long Temporal keeps a closed workflow; None if that is not known.
    retention: timedelta | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Overview:
    """The first screen. A part that was never read is None."""

    #: By the database's clock, if that was read.
    now: datetime
    #: As the settings name it.
    table: str
    #: Of the connection; `*` if each row has its own.
    namespace: str
    version: str
    working: Working
    repaired: Repaired | None = None
    losing: Losing | None = None
    stuck: Stuck | None = None
    at_risk: AtRisk | None = None
    #: Why there are no parts at all, if so: they are not kept, or no server was reached yet.
    why_no_parts: str | None = None
    #: What could not be read now: its part is the last known, or None.
    unavailable: tuple[DatedError, ...] = ()
    #: When the oldest of the parts was read, if one could not be read now.
    as_of: datetime | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class RowPage:
    """What `explain` says about the rows of a workflow id, and their journal."""

    workflow_id: str
    now: datetime
    #: See `Overview`.
    namespace: str
    explanations: tuple[Explanation, ...] = ()
    #: Whether there may be older rows, which are not shown.
    only_newest: bool = False
    #: The newest 50.
    changes: tuple[StoredChange, ...] = ()
    #: What Temporal says about the id, if there is no row.
    current: Observation | None = None
    #: Why that is open.
    condition: Condition | None = None
    #: Why any of this is not known, in one line.
    error: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class PassesPage:
    """Passes, newest first."""

    now: datetime
    passes: tuple[StoredPass, ...]
    #: The cursor of the next page; None at the end.
    older: str | None = None
    #: Why they are not known, in one line.
    error: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class PassPage:
    """A pass, and the first 100 rows that it changed."""

    now: datetime
    stored: StoredPass
    changes: tuple[StoredChange, ...]
    #: Whether it changed more.
    more: bool
    #: To copy; empty if there is nothing to undo.
    undo_command: str
