"""Temporal's dev server and PostgreSQL, from wheels, and databases with a table."""

from __future__ import annotations

import gc
import os
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
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

#: The server's own quotas are lifted: they are not what is measured.
_UNLIMITED = (
    *("frontend.rps", "frontend.namespaceRPS", "frontend.namespaceRPS.visibility"),
    *("frontend.namespaceCount", "history.rps", "history.persistenceMaxQPS"),
    *("frontend.persistenceMaxQPS", "matching.rps", "system.visibilityPersistenceMaxReadQPS"),
)
_CONFIG = [
    *(f"{name}=1000000" for name in _UNLIMITED),
    'history.workflowIdReuseMinimalInterval="0s"',
    # By default, the server closes each connection after five minutes: now and then a call is lost.
    'frontend.keepAliveMaxConnectionAge="24h"',
]
_FLAGS = [part for value in _CONFIG for part in ("--dynamic-config-value", value)]


@dataclass(frozen=True, slots=True)
class Stage:
    """The running servers."""

    postgres: str
    temporal: Client

    async def database(self, name: str) -> str:
        """Create a database with the recommended table, and return its URL."""
        connection = await asyncpg.connect(self.postgres)
        await connection.execute(f"CREATE DATABASE {name}")
        await connection.close()
        parts = urlsplit(self.postgres)
        url = urlunsplit(parts._replace(path=f"/{name}"))
        await migrate(url, TableMapping())
        return url


@asynccontextmanager
async def staged() -> AsyncIterator[Stage]:
    """Start both servers; the environment names this Temporal, and has no settings."""
    for name in list(os.environ):
        if name.startswith(("RECONCILER_", "TEMPORAL_", "PG")):
            del os.environ[name]
    with postgres_server() as url:
        async with temporal_server(*_FLAGS) as environment:
            client = environment.client
            os.environ["TEMPORAL_ADDRESS"] = client.service_client.config.target_host
            yield Stage(url, client)


def settings_for(url: str, **given: Any) -> Settings:
    """The default settings for this database, except those given."""
    return load_settings(Settings, database_url=url, **given)


async def fill(url: str, runs: Sequence[Run]) -> None:
    """Insert a running row for each of these runs, created before any of them ended."""
    created_at = datetime.now(UTC) - timedelta(hours=1)
    connection = await asyncpg.connect(url)
    await connection.copy_records_to_table(
        "workflow_executions",
        columns=("workflow_id", "run_id", "created_at"),
        records=[(run.workflow_id, run.run_id, created_at) for run in runs],
    )
    await connection.execute("VACUUM ANALYZE workflow_executions")
    await connection.close()
    leave_out_the_benchmark()


async def set_running(url: str) -> None:
    """Set every row to running and empty the journal, as if nothing had been written."""
    connection = await asyncpg.connect(url)
    await connection.execute("TRUNCATE reconciler.changes")
    await connection.execute(
        "UPDATE workflow_executions SET status = 'running', completed_at = NULL,"
        " error_message = NULL WHERE status <> 'running'"
    )
    await connection.execute("VACUUM ANALYZE workflow_executions")
    await connection.close()


def leave_out_the_benchmark() -> None:
    """Exclude the benchmark's own objects from garbage collection.

    With the ids of tens of thousands of workflows, each collection would take many times as long
    as in a process that only runs passes.
    """
    gc.collect()
    gc.freeze()
