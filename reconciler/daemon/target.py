"""One target of `reconciler run`: its connections and its loop, opened again when they fail.

What goes wrong with a target is that of the target alone, where there are several:

```
a server is unreachable       retried with back-off, as without targets
a server rejects the target   shown, and retried every minute or so: its table may be migrated
a bug                         shown, and started again with back-off
```
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, TypeAlias

import structlog

from reconciler.app.app import App
from reconciler.core.errors import (
    ConfigurationError,
    DatabaseUnfit,
    ReconcilerError,
    TemporalUnfit,
    Unusable,
)
from reconciler.daemon.health import Health
from reconciler.daemon.loop import Loop
from reconciler.daemon.schedule import LAST_RETRY, Every, Schedule, lag, retry_delay, retry_unfit
from reconciler.host.cancellation import is_cancelled
from reconciler.host.steady_clock import steady
from reconciler.settings.model import Settings
from reconciler.temporal.config.load import load_config

log = structlog.get_logger(__name__)

Opening: TypeAlias = Callable[[], AbstractAsyncContextManager[App]]


@dataclass(frozen=True, slots=True)
class Target:
    """What is to be served; its name is empty if there are no targets."""

    settings: Settings
    schedule: Schedule
    #: The arguments of `Client.connect`.
    temporal: Mapping[str, Any]

    @property
    def name(self) -> str:
        """The name in `reconciler.toml`."""
        return self.settings.target


def load_target(settings: Settings, schedule: Schedule | None) -> Target:
    """The target with Temporal's settings; `schedule`: instead of its interval.

    Raises `ConfigurationError`, which names the target.
    """
    try:
        temporal = load_config(settings.temporal_environment(), settings.proxy_url)
    except ConfigurationError as error:
        of = f"target {settings.target}: " if settings.target else ""
        raise ConfigurationError(f"{of}{error.problem}", error.fix) from None
    return Target(settings, schedule or Every(settings.interval), temporal)


class Unfit:
    """The targets that the servers reject: once that is all of them, the process ends."""

    def __init__(self, names: Sequence[str]) -> None:
        self._errors: dict[str, ReconcilerError | None] = dict.fromkeys(names)
        #: The number of targets.
        self.count = len(names)
        #: What ends the process.
        self.final: ReconcilerError | None = None

    def note(self, name: str, error: ReconcilerError | None) -> None:
        """Note why it is rejected; None if it is not. Raises the first error if all are."""
        self._errors[name] = error
        if error is None or not all(self._errors.values()):
            return
        self.final = error
        if self.count > 1:
            first, why = next((name, why) for name, why in self._errors.items() if why)
            kind = ConfigurationError if isinstance(why, ConfigurationError) else Unusable
            self.final = kind(f"no target can be served; {first}: {why.problem}", why.fix)
        raise self.final


class Serving:
    """The task of one target."""

    def __init__(
        self, target: Target, health: Health, opening: Opening, unfit: Unfit, share: float = 0.0
    ) -> None:
        """`share`: of all targets, those before it; they start one after another."""
        self._target, self._health, self._opening = target, health, opening
        self._unfit, self._share = unfit, share

    async def run(self) -> None:
        """Serve it until cancelled.

        Raises what ends the process: a bug if there is no other target, or see `Unfit`.
        """
        if self._target.name:
            structlog.contextvars.bind_contextvars(target=self._target.name)
        await asyncio.sleep(lag(self._share, self._unfit.count))
        crashes = 0
        while True:
            began = steady()
            try:
                await self._serve()
            except (Exception, asyncio.CancelledError) as error:
                # Where nobody asked it to end, a cancellation is a bug of what was called.
                asked = isinstance(error, asyncio.CancelledError) and is_cancelled()
                if asked or error is self._unfit.final or self._unfit.count == 1:
                    raise
                crashes = 1 if steady() - began > LAST_RETRY else crashes + 1
                await self._recover(error, retry_delay(crashes))

    async def _serve(self) -> None:
        async with AsyncExitStack() as stack:
            app = await self._open(stack)
            metrics = self._health.pass_metrics()
            await Loop(app, self._target.schedule, metrics, self._health, self._share).run()

    async def _open(self, stack: AsyncExitStack) -> App:
        """Connect, retrying while a server is unreachable: a container must not crash-loop."""
        failures = 0
        while True:
            try:
                app = await stack.enter_async_context(self._opening())
            except (ConfigurationError, Unusable) as error:
                if is_cancelled():  # put off by `close`
                    raise asyncio.CancelledError from error
                failures += 1
                await asyncio.sleep(self._not_open(error, failures))
            else:
                self._unfit.note(self._target.name, None)
                return app

    def _not_open(self, error: ConfigurationError | Unusable, failures: int) -> float:
        """Show why it cannot be opened; returns the seconds until the next attempt."""
        if not isinstance(error, ConfigurationError | DatabaseUnfit | TemporalUnfit):
            self._unfit.note(self._target.name, None)
            delay = retry_delay(failures)
            log.warning("server_unusable", error=str(error), retry_in=round(delay, 1))
            self._health.not_connected(error)
            return delay
        delay = retry_unfit()
        self._health.rejected(error)
        if self._unfit.count > 1:
            log.error("target_rejected", error=str(error), retry_in=round(delay, 1))
        self._unfit.note(self._target.name, error)
        return delay

    async def _recover(self, error: BaseException, delay: float) -> None:
        hint = "this is a bug, please report it"
        log.error("target_crashed", exc_info=error, hint=hint, retry_in=round(delay, 1))
        self._health.crashed(error, timedelta(seconds=delay))
        await asyncio.sleep(delay)
