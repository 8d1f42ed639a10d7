"""The tables of a worker: which of them it needs, and whether they fit."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterable, Sequence

from reconciler.core.errors import ConfigurationError, DatabaseUnfit
from reconciler.worker.activity import StatusActivity
from reconciler.worker.after_close.choice import listed
from reconciler.worker.interceptor import MainPathInterceptor
from reconciler.worker.report import ONLY
from reconciler.worker.targets import DYNAMIC, TargetChoice

#: Seconds between checks of a table that did not fit when the worker started.
CHECK_INTERVAL = 30
_log = logging.getLogger("reconciler.worker")


class Tables:
    """The tables that the workers of a plugin write to, one per target."""

    def __init__(self, activity: StatusActivity, chosen: TargetChoice, *, elsewhere: bool) -> None:
        """`elsewhere`: whether another worker runs the activity, which may know more targets."""
        self._activity, self._chosen, self._elsewhere = activity, chosen, elsewhere
        #: What is wrong with the table of each target, as it was logged last.
        self.problems: dict[str, str] = {}

    def read(self) -> None:
        """Read the settings of all targets that may be needed. Raises `ConfigurationError`."""
        sources = self._activity.sources()
        for name in self._chosen.named or sources.names:
            if self._is_known_here(name):
                sources.check(name, "targets= names the target")
                sources.of(name)

    def in_use(self, workflows: Sequence[type], own: MainPathInterceptor) -> Sequence[str]:
        """The targets that a worker with these workflows writes to.

        Raises `ConfigurationError` if there is no such target, or it is in doubt which it is.
        """
        sources = self._activity.sources()
        chosen = {*(own.only or ()), *own.after_close.types}
        found = self._chosen.in_use(workflows, own.selects_type, chosen)
        for name, types in found.items():
            if self._is_known_here(name):
                sources.of(name, f"the rows of {listed(types)}")
        if own.task_queue is not None:  # another worker writes the rows of the other types
            chosen = {*own.after_close.types, DYNAMIC}
            found = {name: types for name, types in found.items() if chosen.intersection(types)}
        return list(found) or self._chosen.named or sources.names

    def check_urls(self, targets: Iterable[str]) -> None:
        """Raise `ConfigurationError` unless each has an engine, or a URL."""
        for each in targets:
            self._activity.sources().of(each).check_url()

    def check_usable(self, targets: Sequence[str]) -> None:
        """The same, and that what decodes failures can be loaded."""
        self.check_urls(targets)
        for each in targets:
            self._activity.sources().of(each).codec()

    async def watch(self, own: MainPathInterceptor) -> None:
        """Suspend the reports of a worker to each table until it fits; log each reason once.

        While a database cannot be reached, nothing is known: reports are tried.
        """
        await asyncio.gather(*(self._watch(own, each) for each in own.serves))

    async def _watch(self, own: MainPathInterceptor, target: str) -> None:
        of_target = f" of target {target}" if target else ""
        while True:
            try:
                await self._activity.opened(target).prepare()
            except (ConfigurationError, DatabaseUnfit) as error:
                own.suspended.add(target)
                if str(error) != self.problems.get(target):
                    self.problems[target] = str(error)
                    _log.error("workflows%s do not report their ends: %s", of_target, error)
            except Exception as error:  # noqa: BLE001 - or a listener of the application failed
                _log.debug("the table%s is not checked: %r", of_target, error)
            else:
                if target in own.suspended:
                    own.suspended.discard(target)
                    _log.info("the table%s fits now: workflows report their ends", of_target)
                return
            await asyncio.sleep(CHECK_INTERVAL)

    def _is_known_here(self, target: str) -> bool:
        """Whether this process has to know the target, rather than the one with the activity."""
        return target == ONLY or not self._elsewhere or self._activity.sources().has_targets
