from __future__ import annotations

from pathlib import Path

import pytest

from tests.conftest import Database
from tests.support.commands.command import Command


@pytest.fixture
def reconciler(database: Database, temporal_address: str, tmp_path: Path) -> Command:
    """The command, pointed at a migrated database and a real Temporal."""
    environment = {"DATABASE_URL": database.url, "TEMPORAL_ADDRESS": temporal_address}
    return Command(environment, tmp_path)
