"""Where the rows of one target are: its settings, and the engine to use."""

from __future__ import annotations

import logging
from collections.abc import Callable, MutableMapping
from dataclasses import dataclass
from typing import Any, TypeAlias

from sqlalchemy.ext.asyncio import AsyncEngine

from reconciler.core.errors import ConfigurationError
from reconciler.core.policy import StatusValues
from reconciler.postgres.connection.engine import open_engine
from reconciler.settings.model import DatabaseSettings
from reconciler.settings.table import TableSettings
from reconciler.temporal.failures.codec import Codec
from reconciler.temporal.failures.failure_decoder import make_codec
from reconciler.worker.database.writer import RowWriter

#: An engine of the application, or a function that makes one when it is first needed.
EngineSource: TypeAlias = AsyncEngine | Callable[[], AsyncEngine]
#: The engines that are open in an event loop, by what `Source.opens` returns.
Engines: TypeAlias = MutableMapping[object, AsyncEngine]

_log = logging.getLogger("reconciler.worker")
#: The warnings that this process has logged.
_warned: set[str] = set()


@dataclass(frozen=True, slots=True)
class Source:
    """Where the rows of one target are."""

    #: The target; empty where there are no targets.
    name: str
    settings: TableSettings
    #: The application's; None: one of our own, for the URL in the settings.
    engine: EngineSource | None
    #: Whether the settings were made in code.
    is_given: bool = False
    #: What is wrong with names that are no settings.
    warnings: tuple[str, ...] = ()

    def check_url(self) -> None:
        """Check that there is a DATABASE_URL if one is needed. Raises `ConfigurationError`.

        Apart from `open`, since replayers and clients need none.
        """
        if self.engine is not None or isinstance(self.settings, DatabaseSettings):
            return
        target, own = self.name and f" for target {self.name}", "the application's engine"
        if self.is_given:
            problem, fix = f"settings= has no database_url{target}", "pass Settings with one"
        else:
            problem, fix = f"DATABASE_URL is not set{target}", "set it"
        raise ConfigurationError(problem, f"{fix}, or pass {own}: ReconcilerPlugin(engine)")

    @property
    def statuses(self) -> StatusValues:
        """The values of the status column."""
        return self.settings.status_values()

    def codec(self) -> Codec | None:
        """What decodes failures; None if they are not. Raises `ConfigurationError`."""
        return make_codec(*self.settings.decoder())

    @property
    def codec_timeout(self) -> float:
        """Seconds to decode one failure."""
        return self.settings.codec_timeout.total_seconds()

    def open(self, engines: Engines | None = None, *, sharing: int = 1) -> RowWriter:
        """A writer for the current event loop. Raises `ConfigurationError`.

        `engines`: those that are open in it. Targets that have the same engine, or the same URL,
        share one. `sharing`: how many may do so.
        """
        self.check_url()
        for each in sorted({*self.warnings} - _warned):
            _warned.add(each)
            _log.warning(each)
        engines = {} if engines is None else engines
        key = self._key()
        if key not in engines:
            engines[key] = self._open_engine(sharing)
        return RowWriter(engines[key], self.settings, owned=self.engine is None)

    def _key(self) -> object:
        """What the targets have in common that share an engine."""
        if self.engine is None and isinstance(self.settings, DatabaseSettings):
            return self.settings.database_url_file or self.settings.database_url.get_secret_value()
        return id(self.engine)

    def _open_engine(self, sharing: int) -> AsyncEngine:
        if self.engine is None and isinstance(self.settings, DatabaseSettings):
            return open_engine(self.settings.dsn(), pinged=False, targets=sharing)
        made: Any = self.engine() if callable(self.engine) else self.engine
        if not isinstance(made, AsyncEngine):
            raise ConfigurationError(
                f"engine= made a {type(made).__name__} where an AsyncEngine is needed"
            )
        return made
