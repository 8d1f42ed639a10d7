"""Notifying the observers of a pass: all of them, even if one fails."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence

import structlog

from reconciler.core.errors import Unusable
from reconciler.core.model import Outcome, Verdict
from reconciler.core.observer import Observer, PassView

log = structlog.get_logger(__name__)


async def notify(
    observers: Sequence[Observer], event: Callable[[Observer], Awaitable[None]]
) -> None:
    """Notify each observer, then raise one of their errors: a bug, or else an `Unusable`.

    Of several of a kind the first is raised. That is the only thing their order decides, and it
    changes no more than the text of the report's error.
    """
    errors: list[Exception] = []
    for observer in observers:
        try:
            await event(observer)
        except Exception as error:
            errors.append(error)
    if errors:
        raise min(errors, key=lambda error: isinstance(error, Unusable))


class Bystander(Observer):
    """Wraps an observer whose failure must not end a pass: a progress bar, metrics.

    A failure is logged once per pass.
    """

    def __init__(self, observer: Observer) -> None:
        self._observer = observer
        self._logged = False

    async def on_start(self, report: PassView) -> None:
        """Forward it."""
        self._logged = False
        await self._unless_it_fails(self._observer.on_start(report))

    async def on_written(self, report: PassView, outcomes: Sequence[Outcome]) -> None:
        """Forward it."""
        await self._unless_it_fails(self._observer.on_written(report, outcomes))

    async def on_page(self, report: PassView, verdicts: Sequence[Verdict]) -> None:
        """Forward it."""
        await self._unless_it_fails(self._observer.on_page(report, verdicts))

    async def on_pass(self, report: PassView) -> None:
        """Forward it."""
        await self._unless_it_fails(self._observer.on_pass(report))

    async def _unless_it_fails(self, observing: Awaitable[None]) -> None:
        try:
            await observing
        except Exception:
            if not self._logged:
                log.exception("observer_crashed", hint="this is a bug, please report it")
            self._logged = True
