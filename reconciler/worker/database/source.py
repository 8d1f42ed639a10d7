"""Where the rows are: the settings of the worker's process, and the application's engine."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import TypeAlias

from sqlalchemy.ext.asyncio import AsyncEngine

from reconciler.core.errors import ConfigurationError
from reconciler.core.policy import StatusValues
from reconciler.postgres.connection.engine import open_engine
from reconciler.settings.load import load_guest_settings
from reconciler.settings.model import DatabaseSettings
from reconciler.temporal.failures.codec import Codec
from reconciler.temporal.failures.failure_decoder import make_codec
from reconciler.worker.database.writer import RowWriter

#: An engine of the application, or a function that makes one when it is first needed.
EngineSource: TypeAlias = AsyncEngine | Callable[[], AsyncEngine]

_log = logging.getLogger("reconciler.worker")
#: The warnings that this process has logged.
_warned: set[str] = set()


class Source:
    """Where the rows are: the settings, and the application's engine if it has given one."""

    def __init__(self, engine: EngineSource | None) -> None:
        """Read the settings. Raises `ConfigurationError`, though not for a missing URL."""
        self._engine = engine
        self._settings, self._warnings = load_guest_settings(connects=engine is None)

    def check_url(self) -> None:
        """Check that there is a DATABASE_URL if one is needed. Raises `ConfigurationError`.

        Apart from `open`, since replayers and clients need none.
        """
        if self._engine is None and not isinstance(self._settings, DatabaseSettings):
            raise ConfigurationError(
                "DATABASE_URL is not set",
                "set it, or pass the application's engine: ReconcilerPlugin(engine)",
            )

    @property
    def statuses(self) -> StatusValues:
        """The values of the status column."""
        return self._settings.status_values()

    def codec(self) -> Codec | None:
        """What decodes failures; None if they are not. Raises `ConfigurationError`."""
        return make_codec(*self._settings.decoder())

    @property
    def codec_timeout(self) -> float:
        """Seconds to decode one failure."""
        return self._settings.codec_timeout.total_seconds()

    def open(self) -> RowWriter:
        """A writer for the current event loop. Raises `ConfigurationError`."""
        self.check_url()
        for each in sorted({*self._warnings} - _warned):
            _warned.add(each)
            _log.warning(each)
        if isinstance(self._settings, DatabaseSettings):
            own = open_engine(self._settings.dsn(), pinged=False)
            return RowWriter(own, self._settings, owned=True)
        made = self._engine() if callable(self._engine) else self._engine
        if not isinstance(made, AsyncEngine):
            raise ConfigurationError(
                f"engine= made a {type(made).__name__} where an AsyncEngine is needed"
            )
        return RowWriter(made, self._settings, owned=False)
