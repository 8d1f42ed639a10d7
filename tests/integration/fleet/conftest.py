from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from temporalio.client import Client

from tests.conftest import Database
from tests.support.commands.command import Command
from tests.support.commands.fleet import Fleet
from tests.support.commands.stage import Stage


@pytest.fixture
async def fleet(
    database: Database, temporal: Client, temporal_address: str, workflow_id: str, tmp_path: Path
) -> AsyncIterator[Fleet]:
    """A table, a Temporal, and a task queue of its own."""
    environment = {"DATABASE_URL": database.url, "TEMPORAL_ADDRESS": temporal_address}
    stage = Stage(database, temporal, workflow_id)
    yield Fleet(stage, Command(environment, tmp_path))
    await stage.end()
