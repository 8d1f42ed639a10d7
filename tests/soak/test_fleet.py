"""Many kills of workers in a distributed backfill of thousands of rows: `make test-soak`."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.conftest import Database
from tests.integration.fleet.test_chaos import chaos, fleet_on
from tests.support.servers.restartable import restartable_temporal


@pytest.mark.soak
@pytest.mark.timeout(900)
async def test_the_counts_are_those_of_one_pass(database: Database, tmp_path: Path) -> None:
    async with (
        restartable_temporal() as server,
        fleet_on(server, database, tmp_path) as fleet,
    ):
        await chaos(fleet, server, pages=400, kills=20)
