"""The traffic of the demo, on real servers."""

from __future__ import annotations

from contextlib import aclosing

import pytest
from temporalio.client import Client

from reconciler.demo import traffic
from reconciler.demo.application import Application
from tests.conftest import Database


async def test_the_table_does_not_grow(
    temporal: Client, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(traffic, "SECONDS_BETWEEN", 0)
    monkeypatch.setattr(traffic, "ROWS_KEPT", 3)
    await database.insert_many(1, "tenant-hooli", None)
    await database.insert_many(9, "old", None)
    await database.execute(
        "UPDATE workflow_executions SET status = 'completed' WHERE workflow_id LIKE 'old-%'"
    )
    application = Application(temporal, database.engine)

    async with aclosing(traffic.steady_traffic(application)) as starts:
        await anext(starts)

    (started, *_) = await database.fetch(
        "SELECT workflow_id FROM workflow_executions ORDER BY id DESC"
    )
    await temporal.get_workflow_handle(str(started["workflow_id"])).terminate("end of test")
    rows = await database.fetch("SELECT workflow_id FROM workflow_executions ORDER BY id")
    assert [row["workflow_id"] for row in rows] == [
        "tenant-hooli-1",
        "old-8",
        "old-9",
        "invoice-0001",
    ]
