from __future__ import annotations

from pathlib import Path

import pytest

from tests.conftest import Database
from tests.support.commands.command import Command


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """What may take long comes first, of all the tests: the last one must not run alone."""
    items.sort(key=lambda item: item.get_closest_marker("timeout") is None)


@pytest.fixture
def reconciler(database: Database, temporal_address: str, tmp_path: Path) -> Command:
    """The command, pointed at a migrated database and a real Temporal."""
    environment = {"DATABASE_URL": database.url, "TEMPORAL_ADDRESS": temporal_address}
    return Command(environment, tmp_path)
