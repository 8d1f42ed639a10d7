"""What is open in one event loop."""

from __future__ import annotations

from sqlalchemy.ext.asyncio import AsyncEngine

from reconciler.worker.database.sources import Sources
from reconciler.worker.database.writer import RowWriter
from reconciler.worker.report import ONLY


class Opened:
    """The writers of the targets that were used, and what they connect with."""

    def __init__(self, sources: Sources) -> None:
        self._sources = sources
        self._engines: dict[object, AsyncEngine] = {}
        self._writers: dict[str, RowWriter] = {}

    def writer(self, target: str = ONLY) -> RowWriter:
        """The writer of a target. Raises `ConfigurationError`."""
        source = self._sources.of(target)
        if source.name not in self._writers:
            sharing = len(self._sources.names)
            self._writers[source.name] = source.open(self._engines, sharing=sharing)
        return self._writers[source.name]

    async def close(self) -> None:
        """Close the engines that are not the application's."""
        for writer in self._writers.values():
            await writer.close()
