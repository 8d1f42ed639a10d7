"""Whether the loop works, as the page says it: from what this process and the history know."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from reconciler.app.overview.model import DatedError, Server, Working
from reconciler.app.overview.parts import PassesOfAll
from reconciler.app.overview.state import Situation, judge
from reconciler.daemon.health import CRASHED, DATABASE, NOT_STARTED, REJECTED, TEMPORAL, Health

#: Errors that are shown.
ERRORS = 5


@dataclass(frozen=True, slots=True)
class Places:
    """Where the servers are, for people; no secrets."""

    database: str
    temporal: str


@dataclass(frozen=True, slots=True)
class Unreachable:
    """Why a server cannot be used; None if it can."""

    database: str | None = None
    temporal: str | None = None


def read_working(
    health: Health,
    places: Places,
    unreachable: Unreachable | None = None,
    passes: PassesOfAll | None = None,
) -> Working:
    """The answer now; `unreachable` is None before both servers are connected.

    `passes`: None if there is no history, or it was never read.
    """
    failed = _failed_pass(health, passes)
    failing = tuple(_failing(health, unreachable, failed))
    last_good = health.last_good
    holder = None if passes is None else passes.holder
    state, headline = judge(
        Situation(
            role=health.role,
            waiting_for=_waiting_for(health, places),
            failing=failing,
            late=_late(health),
            has_passed=last_good is not None,
            holder=holder,
            journals=health.app is None or health.app.journals,
        )
    )
    feed, lag = _feed(health)
    return Working(
        state=state,
        headline=headline,
        role=health.role,
        holder=holder,
        last_good_at=None if last_good is None else last_good.finished_at,
        last_good_pass=None if last_good is None else last_good.pass_id,
        next_pass_at=_next_pass(health, passes),
        servers=tuple(_servers(health, places, unreachable)),
        feed=feed,
        feed_lag=lag,
        errors=tuple(_errors(health, failed, {each.what for each in failing}))[:ERRORS],
    )


def unreachable_servers(health: Health, unreachable: Unreachable) -> tuple[DatedError, ...]:
    """The servers that cannot be used, for the banner."""
    away = {DATABASE: unreachable.database, TEMPORAL: unreachable.temporal}
    return tuple(_dated(health, what, why) for what, why in away.items() if why is not None)


def _waiting_for(health: Health, places: Places) -> str | None:
    if health.waiting_for is None:
        return None
    error = next(iter(health.record.errors), None)
    if error is None:
        return "connecting to both servers"
    if error.what in (REJECTED, CRASHED):
        return None  # it does not wait for a server
    place = places.database if error.what == DATABASE else places.temporal
    return f"waiting for {error.what} at {place}: {error.text}"


def _failing(
    health: Health, unreachable: Unreachable | None, failed: DatedError | None
) -> Iterator[DatedError]:
    """What fails now."""
    yield from unreachable_servers(health, unreachable or Unreachable())
    good = health.last_good
    if failed is not None and (good is None or failed.at > good.finished_at):
        yield failed
    if health.keeper is not None and health.keeper.last_error is not None:
        yield _dated(health, "lease", health.keeper.last_error)
    if health.feed is not None and health.feed.why_failing is not None:
        yield _dated(health, "feed", health.feed.why_failing)


def _dated(health: Health, what: str, why: str) -> DatedError:
    """A present error with the time at which it was last noted."""
    noted = health.record.last_error(what)
    return DatedError(health.record.clock() if noted is None else noted.at, what, why)


def _failed_pass(health: Health, passes: PassesOfAll | None) -> DatedError | None:
    """The last pass over every row that failed, in this process or another."""
    here = health.record.last_error("pass")
    if passes is None or passes.last_failed is None:
        return here
    recorded = DatedError(passes.last_failed.at, "pass", passes.last_failed.error)
    return recorded if here is None or recorded.at > here.at else here


def _late(health: Health) -> str | None:
    if _awaited(health) in (REJECTED, CRASHED) and health.waiting_for is not None:
        return health.waiting_for
    if why := health.why_stalled():
        return why
    if health.keeper is not None and health.keeper.gave_up_at is not None:
        return NOT_STARTED
    return None if health.last_good is None else health.why_late()


def _next_pass(health: Health, passes: PassesOfAll | None) -> datetime | None:
    """When the next pass is due: by the schedule, or because the last one failed."""
    record = health.record
    if record.retry_at is not None and record.retry_at > record.clock():
        return record.retry_at
    began = [record.pass_began_at, None if passes is None else passes.last_began]
    last = max((each for each in began if each is not None), default=None)
    return None if last is None else health.schedule.due_after(last, 1)


def _servers(health: Health, places: Places, unreachable: Unreachable | None) -> Iterator[Server]:
    whys = (None, None) if unreachable is None else (unreachable.database, unreachable.temporal)
    for name, where, why in zip(
        (DATABASE, TEMPORAL), (places.database, places.temporal), whys, strict=True
    ):
        is_awaited = health.waiting_for is not None and _awaited(health) == name
        yield Server(
            name=name,
            where=where,
            reachable=(False if is_awaited else None) if unreachable is None else why is None,
            since=health.record.failing_since(name),
        )


def _awaited(health: Health) -> str | None:
    """What kept the loop from starting when it was last tried, such as a server."""
    return next((each.what for each in health.record.errors), None)


def _feed(health: Health) -> tuple[str, timedelta | None]:
    """The state of the feed in a sentence, and since when the last complete poll began."""
    now = health.feed_gauges()
    if health.feed is None:
        return "starts with the loop", None
    if not now.interval:
        return "off (RECONCILER_FEED_INTERVAL is 0): each pass reads every row", None
    lag = max((each.lag for each in now.followed if each.lag is not None), default=None)
    if why := health.feed.why_failing:
        return f"not followed: {why}", lag
    if health.role == "standby":
        return "followed by the replica that makes the repairs", None
    if not now.followed:
        return "not followed yet", None
    count = len(now.followed)
    return ("followed" if count == 1 else f"followed in {count} namespaces"), lag


def _errors(
    health: Health, failed: DatedError | None, failing: Collection[str]
) -> Iterator[DatedError]:
    """The last error of each kind, newest first."""
    others = [each for each in health.record.errors if each.what != "pass"]
    both = sorted([*others, *filter(None, [failed])], key=lambda each: each.at, reverse=True)
    present = {_awaited(health)} if health.waiting_for is not None else failing
    yield from (replace(each, over=each.what not in present) for each in both)
