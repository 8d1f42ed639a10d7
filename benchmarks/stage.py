"""What everything is measured on: Temporal's dev server and PostgreSQL, from wheels, and tables."""

from __future__ import annotations

import gc
import os
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit, urlunsplit

import asyncpg
from temporalio.client import Client

from benchmarks.workflows import Run
from reconciler.demo.servers import postgres_server, temporal_server
from reconciler.postgres.migrate.upgrade import migrate
from reconciler.postgres.table.names import TableMapping
from reconciler.settings.load import load_settings
from reconciler.settings.model import Settings

#: The server's own quotas are not what is measured.
_UNLIMITED = (
    *("frontend.rps", "frontend.namespaceRPS", "frontend.namespaceRPS.visibility"),
    *("frontend.namespaceCount", "history.rps", "history.persistenceMaxQPS"),
    *("frontend.persistenceMaxQPS", "matching.rps", "system.visibilityPersistenceMaxReadQPS"),
)
_FLAGS = [part for name in _UNLIMITED for part in ("--dynamic-config-value", f"{name}=1000000")]


@dataclass(frozen=True, slots=True)
class Stage:
    """Both servers."""

    postgres: str
    temporal: Client

    async def database(self, name: str) -> str:
        """A new database with the table of the documentation, migrated; its URL."""
        connection = await asyncpg.connect(self.postgres)
        await connection.execute(f"CREATE DATABASE {name}")
        await connection.close()
        parts = urlsplit(self.postgres)
        url = urlunsplit(parts._replace(path=f"/{name}"))
        await migrate(url, TableMapping())
        return url


@asynccontextmanager
async def staged() -> AsyncIterator[Stage]:
    """Both servers, and an environment that names this Temporal and has no reconciler settings."""
    for name in list(os.environ):
        if name.startswith(("RECONCILER_", "TEMPORAL_", "PG")):
            del os.environ[name]
    with postgres_server() as url:
        async with temporal_server(*_FLAGS) as environment:
            client = environment.client
            os.environ["TEMPORAL_ADDRESS"] = client.service_client.config.target_host
            yield Stage(url, client)


def settings_for(url: str, **given: Any) -> Settings:
    """The default settings on this database, but for what is given.

    What this version has no setting for is left out, so that a benchmark also runs on the version
    before the one that brings it.
    """
    known = {name: value for name, value in given.items() if name in Settings.model_fields}
    return load_settings(Settings, database_url=url, **known)


async def fill(url: str, runs: Sequence[Run]) -> None:
    """A running row for each of these runs."""
    connection = await asyncpg.connect(url)
    await connection.copy_records_to_table(
        "workflow_executions",
        columns=("workflow_id", "run_id"),
        records=[(run.workflow_id, run.run_id) for run in runs],
    )
    await connection.execute("VACUUM ANALYZE workflow_executions")
    await connection.close()
    leave_out_the_benchmark()


async def set_running(url: str) -> None:
    """Every row is running again, and the journal is empty, as if nothing had been written."""
    connection = await asyncpg.connect(url)
    await connection.execute("TRUNCATE reconciler.changes")
    await connection.execute(
        "UPDATE workflow_executions SET status = 'running', completed_at = NULL,"
        " error_message = NULL WHERE status <> 'running'"
    )
    await connection.execute("VACUUM ANALYZE workflow_executions")
    await connection.close()


def leave_out_the_benchmark() -> None:
    """Take what there is by now out of the garbage collector's sight, for what is measured next.

    Tens of thousands of workflows' ids would make each of its rounds many times as long as in a
    process that only passes.
    """
    gc.collect()
    gc.freeze()
