"""Passes, undo and the main path on the tables of real applications, as they are."""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import AsyncIterator, Mapping
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from temporalio.client import Client, WorkflowFailureError, WorkflowHandle

from reconciler.app import undo as journal
from reconciler.app.apply_plan import run_plan
from reconciler.app.backfill import Request, run_backfill
from reconciler.app.explain import explain
from reconciler.app.wiring import open_app
from reconciler.core.model import Finish
from reconciler.core.report.pass_report import PassReport
from reconciler.postgres.migrate.upgrade import migrate
from reconciler.settings.load import load_settings
from reconciler.settings.model import Settings
from reconciler.worker.database.writer import RowWriter
from reconciler.worker.report import EndReport
from tests.conftest import Database
from tests.support.passes.operator import Operator
from tests.support.tables.applications.composed_ids import COMPOSED_IDS
from tests.support.tables.applications.model import FATES, Application
from tests.support.tables.applications.odd_values import ODD_VALUES
from tests.support.tables.applications.workflow_id_columns import WORKFLOW_ID_COLUMNS

APPLICATIONS = {**WORKFLOW_ID_COLUMNS, **COMPOSED_IDS, **ODD_VALUES}


class Deployment:
    """A deployed application, with a row and a workflow of each fate."""

    def __init__(self, application: Application, database: Database) -> None:
        self.application, self.database = application, database
        self.settings = load_settings(Settings, grace="0s")
        self.handles: dict[str, WorkflowHandle[Any, Any]] = {}

    async def deploy(self, client: Client, task_queue: str) -> None:
        """Create the table and its rows, and start their workflows."""
        app = self.application
        await self.database.execute(app.ddl)
        for fate in FATES:
            insert = f"{app.insert} RETURNING {app.workflow_id} AS workflow_id"
            (row,) = await self.database.fetch(insert, str(uuid4()))
            script = {"terminate": "wait", "report": "complete"}.get(fate, fate)
            handle = self.handles[fate] = await client.start_workflow(
                "Scripted", args=[script, "text"], id=str(row["workflow_id"]), task_queue=task_queue
            )
            if app.run_id:
                store = f"UPDATE {app.table} SET {app.run_id} = $2 WHERE {app.workflow_id} = $1"
                await self.database.execute(store, handle.id, handle.first_execution_run_id)
        if app.insert_unstarted:
            await self.database.execute(app.insert_unstarted)
        await self.handles["terminate"].terminate("by hand")
        await asyncio.gather(*map(self._ended, ("complete", "fail", "report")))

    async def _ended(self, fate: str) -> None:
        with contextlib.suppress(WorkflowFailureError):
            await self.handles[fate].result()

    async def run(self, *, dry_run: bool = False) -> PassReport:
        async with open_app(self.settings, writing=not dry_run) as app:
            report = await app.run_pass("once", dry_run=dry_run)
        assert report.error is None
        return report

    async def apply(self, plan: Path) -> PassReport:
        request = Request(apply=True)
        report = await run_plan(self.settings, request, plan, Operator(), force=False)
        assert report is not None
        assert report.error is None
        return report

    async def report_completion(self) -> bool:
        """Write the end of the last workflow as its worker does."""
        handle, now = self.handles["report"], datetime.now(UTC)
        started = (await handle.describe()).start_time
        report = EndReport(handle.id, "COMPLETED", handle.first_execution_run_id, started)
        writer = RowWriter(self.database.engine, self.settings, owned=False)
        return await writer.finish(report, "default", now)

    async def finished(self) -> Mapping[str, str]:
        """The statuses of the rows that were finished, by the fates of their workflows."""
        app, found = self.application, {}
        query = (
            f"SELECT {app.status}::text AS status, {app.written} AS written FROM {app.table}"
            f" WHERE {app.workflow_id} = $1"
        )
        for fate, handle in self.handles.items():
            (row,) = await self.database.fetch(query, handle.id)
            if row["status"] in app.ends.values():
                assert row["written"], fate
                found[fate] = str(row["status"])
        return found

    async def rows(self) -> list[str]:
        """Every row, without the columns that undo does not restore."""
        rows = await self.database.fetch(f"SELECT * FROM {self.application.table}")
        kept = self.application.kept
        return sorted(str({k: v for k, v in row.items() if k not in kept}) for row in rows)


@pytest.fixture(params=list(APPLICATIONS.values()), ids=list(APPLICATIONS))
async def deployment(
    request: pytest.FixtureRequest,
    empty_database: Database,
    temporal: Client,
    task_queue: str,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> AsyncIterator[Deployment]:
    application: Application = request.param
    for name in os.environ:
        if name.startswith(("RECONCILER_", "TEMPORAL_")):
            monkeypatch.delenv(name)
    config = temporal.service_client.config
    servers = {"DATABASE_URL": empty_database.url, "TEMPORAL_ADDRESS": config.target_host}
    for name, value in {**servers, **application.settings}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.chdir(tmp_path)
    deployment = Deployment(application, empty_database)
    await deployment.deploy(temporal, task_queue)
    yield deployment
    await deployment.handles["wait"].terminate()


async def test_rows_are_explained_reported_finished_and_undone(
    deployment: Deployment, tmp_path: Path
) -> None:
    ends = deployment.application.ends
    reported = {fate: status for fate, status in ends.items() if fate == "report"}
    await migrate(deployment.database.url, deployment.settings.table_mapping())
    before = await deployment.rows()

    await deployment.run(dry_run=True)
    assert await deployment.rows() == before
    for fate, handle in deployment.handles.items():
        async with open_app(deployment.settings, writing=False) as app:
            (explained,) = await explain(app, handle.id)
        assert isinstance(explained.verdict, Finish) == (fate in ends)

    assert await deployment.report_completion() == bool(reported)
    assert await deployment.finished() == reported
    main_path = await deployment.rows()

    plan = tmp_path / "plan.jsonl"
    planned = await run_backfill(deployment.settings, Request(output=plan), Operator())
    assert planned is not None
    assert planned.error is None
    for finish in (partial(deployment.apply, plan), deployment.run):
        report = await finish()
        assert await deployment.finished() == ends
        assert report.tally.written == planned.tally.written
        undone = await journal.undo(deployment.settings, report.pass_id, dry_run=False)
        assert (undone.error, undone.left) == (None, {})
        assert await deployment.rows() == main_path
