"""All targets at a glance: the state of each, and of all of them together."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

import structlog

from reconciler.app.overview import patience
from reconciler.app.overview.model import Overview, State

#: Seconds that all targets are waited for beyond the patience of one: each says better than anybody
#: else which of its servers is silent.
MARGIN = 0.5

#: What needs somebody, the worst first; then what does not.
BAD = (State.FAILING, State.NOT_RUNNING)
_ORDER = (*BAD, State.STARTING, State.WORKING, State.STANDBY)

log = structlog.get_logger(__name__)


@dataclass(frozen=True)
class TargetState:
    """What is known about a target now."""

    name: str
    #: None if it did not answer.
    view: Overview | None
    #: Why, in one line.
    error: str | None = None

    @property
    def state(self) -> State:
        """Its state; one that does not answer counts as failing."""
        return State.FAILING if self.view is None else self.view.working.state

    @property
    def headline(self) -> str:
        """One sentence about it."""
        return f"Not answering: {self.error}" if self.view is None else self.view.working.headline


@dataclass(frozen=True)
class AllTargets:
    """All targets, in the order of the settings: a line that moved could not be clicked on."""

    lines: Sequence[TargetState]

    @property
    def state(self) -> State:
        """The state of the worst."""
        return min((each.state for each in self.lines), key=_ORDER.index)

    @property
    def headline(self) -> str:
        """How many of them are in the state of the worst, in one sentence."""
        total = len(self.lines)
        if bad := sum(self.counts.get(state, 0) for state in BAD):
            return f"{bad} of {total} targets {'does' if bad == 1 else 'do'} not work"
        if starting := self.counts.get(State.STARTING):
            return f"{starting} of {total} targets {'is' if starting == 1 else 'are'} starting"
        is_standby = self.state is State.STANDBY
        return f"All {total} targets {'are on standby' if is_standby else 'work'}"

    @property
    def counts(self) -> Mapping[State, int]:
        """The targets in each state that occurs, the worst first."""
        found = Counter(each.state for each in self.lines)
        return {state: found[state] for state in _ORDER if found[state]}

    @property
    def version(self) -> str | None:
        """Of this process; None if no target answered."""
        return next((each.view.version for each in self.lines if each.view is not None), None)

    @property
    def now(self) -> datetime | None:
        """The latest of their times; None if none answered."""
        return max((each.view.now for each in self.lines if each.view is not None), default=None)


async def read_targets(asks: Mapping[str, Callable[[], Awaitable[Overview]]]) -> AllTargets:
    """The overview of each target by its name; one that is silent, or has a bug, hides no other."""
    lines = await asyncio.gather(*(_read(name, ask) for name, ask in asks.items()))
    return AllTargets(lines)


async def _read(name: str, ask: Callable[[], Awaitable[Overview]]) -> TargetState:
    try:
        view, why = await patience.in_time(ask, patience.PATIENCE + MARGIN)
    except Exception as error:
        log.exception("page_failed", target=name, hint="this is a bug, please report it")
        return TargetState(name, None, f"internal error: {type(error).__name__}")
    return TargetState(name, view, why)
