"""All targets at a glance: the state of each, and of all of them together."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import partial

from reconciler.app.overview.kept import CURRENT, OLD, Kept
from reconciler.app.overview.model import Overview, State
from reconciler.host.steady_clock import steady

#: Seconds over which the reading of all targets is spread: a view waits for what the process does.
SPREAD = 2.0

#: What needs somebody, the worst first; then what does not.
BAD = (State.FAILING, State.NOT_RUNNING)
_ORDER = (*BAD, State.STARTING, State.WORKING, State.STANDBY)


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
        """Its state; it fails, too, if it does not answer, or cannot start without a server."""
        if self.view is None:
            return State.FAILING
        working = self.view.working
        waits = any(server.reachable is False for server in working.servers)
        return State.FAILING if waits and working.state is State.STARTING else working.state

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


class Targets:
    """The last known overview of each target; one that is silent, or has a bug, hides no other."""

    def __init__(
        self,
        asks: Mapping[str, Callable[[], Awaitable[Overview]]],
        clock: Callable[[], float] = steady,
    ) -> None:
        """`asks`: by the name of the target; each waits for new answers."""
        self._kept = {
            name: Kept(partial(self._ask, name, ask, SPREAD * number / len(asks)), clock, CURRENT)
            for number, (name, ask) in enumerate(asks.items())
        }

    async def read(self) -> AllTargets:
        """All of them: at once while somebody looks, otherwise within the patience of a view."""
        views = await asyncio.gather(*(kept.get() for kept in self._kept.values()))
        return AllTargets(
            [
                TargetState(name, None if kept.error else view, kept.error)
                for (name, kept), view in zip(self._kept.items(), views, strict=True)
            ]
        )

    async def _ask(
        self, name: str, ask: Callable[[], Awaitable[Overview]], delay: float
    ) -> Overview:
        if self._kept[name].age < OLD:
            await asyncio.sleep(delay)
        return await ask()
