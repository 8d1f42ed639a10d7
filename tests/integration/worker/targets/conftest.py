"""Two targets: orders, and exports with a database and a table of its own."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import Database, opened
from tests.integration.worker.conftest import Site
from tests.support.servers.lending import Lending

TARGETS = {"Scripted": "orders", "Typed": "exports"}
WAYS = ["activity", "after_close"]
FILE = """
[targets.orders]
database_url = "{orders}"
table = "workflow_executions"

[targets.exports]
database_url = "{exports}"
table = "exports"
redact = ["[0-9]+"]

[targets.exports.columns]
completed_at = ""
run_id = "temporal_run"

[targets.exports.statuses]
running = ["open"]
completed = "shipped"
failed = "broken"
"""
EXPORTS = """CREATE TABLE exports (id bigserial PRIMARY KEY, workflow_id text NOT NULL,
    temporal_run text, status text NOT NULL DEFAULT 'open', error_message text,
    created_at timestamptz NOT NULL DEFAULT now())"""


@pytest.fixture
async def exports(lending: Lending) -> AsyncIterator[Database]:
    """Another database, with another table."""
    async with lending.lend() as url, opened(url) as database:
        await database.execute(EXPORTS)
        yield database


@pytest.fixture
def file(site: Site, exports: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A reconciler.toml with the targets orders and exports, each with a database of its own."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("DATABASE_URL", raising=False)
    text = FILE.format(orders=site.database.url, exports=exports.url)
    (tmp_path / "reconciler.toml").write_text(text)


async def export_of(exports: Database, workflow_id: str) -> tuple[Any, Any]:
    """The status and the message of the row in the second table."""
    (row,) = await exports.fetch(
        "SELECT status, error_message FROM exports WHERE workflow_id = $1", workflow_id
    )
    return row["status"], row["error_message"]


async def run(site: Site, exports: Database, workflow: str, *args: str) -> str:
    """Run a workflow whose row is in the second table; return its id."""
    workflow_id = f"{site.workflow_id}/{workflow}"
    await exports.execute("INSERT INTO exports (workflow_id) VALUES ($1)", workflow_id)
    handle = await site.client.start_workflow(
        workflow, args=args, id=workflow_id, task_queue=site.task_queue
    )
    await site.closed(handle)
    return workflow_id
