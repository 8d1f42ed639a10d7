"""Tables of real applications that have no column of their own for the workflow id.

The shapes are those of public applications; each is reconciled through a plan, undone, explained,
and written by the main path.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import pytest
from temporalio.client import Client, WorkflowHandle

from reconciler.app import undo as journal
from reconciler.app.apply_plan import run_plan
from reconciler.app.backfill import Preview, Request, run_backfill
from reconciler.app.explain import explain
from reconciler.app.wiring import open_app
from reconciler.core.model import Finish
from reconciler.core.ports import Observer
from reconciler.postgres.migrate.upgrade import migrate
from reconciler.settings.load import load_settings
from reconciler.settings.model import Settings
from reconciler.worker.report import EndReport
from reconciler.worker.writer import RowWriter
from tests.conftest import Database


@dataclass(frozen=True)
class Application:
    """Its table, how a row of a uuid is inserted, and the id of that row's workflow."""

    sql: str
    insert: str
    workflow_id: str
    settings: Mapping[str, str]
    #: The status of a terminated workflow.
    ended: str


APPLICATIONS = {
    "Fred: the key is the workflow id, no run id, no end time": Application(
        """CREATE TABLE sched_workflow_tasks (workflow_id varchar PRIMARY KEY, current_state text
            NOT NULL DEFAULT 'RUNNING', created_at timestamptz NOT NULL DEFAULT now(),
            updated_at timestamptz NOT NULL DEFAULT now(), last_error text)""",
        "INSERT INTO sched_workflow_tasks (workflow_id) SELECT 'task-' || $1::uuid",
        "task-{}",
        {
            "table": "sched_workflow_tasks",
            "id": "workflow_id",
            "run_id": "",
            "status": "current_state",
            "completed_at": "",
            "error_message": "last_error",
            "RUNNING": "RUNNING",
            "FAILED": "FAILED",
        },
        "FAILED",
    ),
    "Agentex: the key is the workflow id, the statuses are Temporal's": Application(
        """CREATE TYPE taskstatus AS ENUM ('RUNNING', 'COMPLETED', 'FAILED', 'CANCELED',
            'TERMINATED', 'TIMED_OUT');
        CREATE TABLE tasks (id varchar PRIMARY KEY, name varchar UNIQUE, status taskstatus,
            status_reason text, created_at timestamptz DEFAULT now())""",
        "INSERT INTO tasks (id, status) SELECT $1::uuid, 'RUNNING'",
        "{}",
        {
            "table": "tasks",
            "workflow_id": "id",
            "run_id": "",
            "completed_at": "",
            "error_message": "status_reason",
            **{end: end for end in ("RUNNING", "COMPLETED", "FAILED", "TERMINATED")},
        },
        "TERMINATED",
    ),
    "Airweave: sync-<id>, times without zone": Application(
        """CREATE TABLE sync_job (id uuid PRIMARY KEY, status varchar(50) NOT NULL, created_at
            timestamp NOT NULL DEFAULT timezone('UTC', now()), completed_at timestamp,
            failed_at timestamp, error text)""",
        "INSERT INTO sync_job (id, status) SELECT $1::uuid, 'running'",
        "sync-{}",
        {
            "table": "sync_job",
            "workflow_id": "sync-{id}",
            "run_id": "",
            "error_message": "error",
            "RUNNING": "created,pending,running,cancelling",
        },
        "failed",
    ),
    "Instill: trigger-pipeline-<key>, an enum": Application(
        """CREATE TYPE run_status AS ENUM ('RUN_STATUS_PROCESSING', 'RUN_STATUS_COMPLETED',
            'RUN_STATUS_FAILED');
        CREATE TABLE pipeline_run (pipeline_trigger_uid uuid PRIMARY KEY, pipeline_uid uuid,
            status run_status NOT NULL, started_time timestamptz, completed_time timestamptz,
            error text)""",
        "INSERT INTO pipeline_run SELECT $1::uuid, NULL, 'RUN_STATUS_PROCESSING', now()",
        "trigger-pipeline-{}",
        {
            "table": "pipeline_run",
            "id": "pipeline_trigger_uid",
            "workflow_id": "trigger-pipeline-{pipeline_trigger_uid}",
            "run_id": "",
            "created_at": "started_time",
            "completed_at": "completed_time",
            "error_message": "error",
            "RUNNING": "RUN_STATUS_PROCESSING",
            "COMPLETED": "RUN_STATUS_COMPLETED",
            "FAILED": "RUN_STATUS_FAILED",
        },
        "RUN_STATUS_FAILED",
    ),
    "Formance: <id>-main, a boolean that may be null": Application(
        """CREATE TABLE workflow_instances (workflow_id varchar, id varchar PRIMARY KEY, created_at
            timestamptz, updated_at timestamptz, terminated bool, terminated_at timestamptz,
            error varchar)""",
        "INSERT INTO workflow_instances (workflow_id, id, created_at) SELECT 'a', $1::uuid, now()",
        "{}-main",
        {
            "table": "workflow_instances",
            "workflow_id": "{id}-main",
            "run_id": "",
            "status": "terminated",
            "completed_at": "terminated_at",
            "error_message": "error",
            "RUNNING": '["false", null]',
            "COMPLETED": "true",
            "FAILED": "true",
        },
        "true",
    ),
    "executions by tenant: a uuid in a composite key, hash-partitioned": Application(
        """CREATE TABLE executions (tenant_id int DEFAULT 7, id uuid, status text DEFAULT
            'running', created_at timestamptz DEFAULT now(), completed_at timestamptz,
            error_message text, PRIMARY KEY (tenant_id, id)) PARTITION BY HASH (tenant_id);
        CREATE TABLE executions_0 PARTITION OF executions FOR VALUES WITH (MODULUS 1, REMAINDER 0)
        """,
        "INSERT INTO executions (id) SELECT $1::uuid",
        "tenant/7/execution/{}",
        {
            "table": "executions",
            "workflow_id": "tenant/{tenant_id}/execution/{id}",
            "run_id": "",
        },
        "failed",
    ),
}


class Operator:
    """Confirms everything."""

    def confirm(self, preview: Preview) -> bool:
        return True

    def show_progress(self, preview: Preview) -> AbstractContextManager[Observer]:
        return nullcontext(Observer())


@pytest.fixture(params=list(APPLICATIONS.values()), ids=list(APPLICATIONS))
async def application(
    request: pytest.FixtureRequest,
    database: Database,
    temporal_address: str,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> Application:
    for name in os.environ:
        if name.upper().startswith(("RECONCILER_", "TEMPORAL_")):
            monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)
    made: Application = request.param
    for name, value in made.settings.items():
        section = "STATUSES__" if name.isupper() else "" if name == "table" else "COLUMNS__"
        monkeypatch.setenv(f"RECONCILER_{section}{name.upper()}", value)
    monkeypatch.setenv("RECONCILER_GRACE", "0s")
    monkeypatch.setenv("TEMPORAL_ADDRESS", temporal_address)
    monkeypatch.setenv("DATABASE_URL", database.url)
    await database.execute(made.sql)
    await migrate(database.url, load_settings(Settings).table_mapping())
    return made


async def terminated(
    application: Application, database: Database, client: Client
) -> WorkflowHandle[Any, Any]:
    """A row and its workflow, which has been terminated."""
    key: UUID = uuid4()
    await database.execute(application.insert, key)
    name = application.workflow_id.format(key)
    handle = await client.start_workflow("Any", id=name, task_queue=f"none-{key}")
    await handle.terminate(reason="ticket 42")
    return handle


async def test_a_row_is_found_by_the_id_of_its_workflow(
    application: Application, database: Database, temporal: Client, tmp_path: Path
) -> None:
    handle, other = [await terminated(application, database, temporal) for _ in range(2)]
    settings = load_settings(Settings)

    assert await explained(settings, handle.id) == [(application.ended, True)]
    dry = await run_backfill(settings, Request(output=tmp_path / "p.jsonl"), Operator())
    assert dry is not None
    assert (dry.error, dict(dry.tally.written)) == (None, {application.ended: 2})
    done = await run_plan(
        settings, Request(apply=True), tmp_path / "p.jsonl", Operator(), force=False
    )
    assert done is not None
    assert (done.error, dict(done.tally.written)) == (None, {application.ended: 2})
    assert await explained(settings, handle.id) == [(application.ended, False)]
    undone = await journal.undo(settings, done.pass_id, dry_run=False)
    assert (undone.error, undone.left) == (None, {})

    start = (await handle.describe()).start_time
    run = handle.first_execution_run_id
    report = EndReport(handle.id, "TERMINATED", run, start, "ticket 42")
    writer = RowWriter(database.engine, settings, owned=False)
    assert await writer.finish(report, "default", start)
    assert await explained(settings, handle.id) == [(application.ended, False)]
    assert await explained(settings, other.id) == [(application.ended, True)]
    assert await explained(settings, other.id.upper()) == []


async def explained(settings: Settings, workflow_id: str) -> list[tuple[str | None, bool]]:
    """The status of each row, or the one it would get; whether a pass would finish it."""
    async with open_app(settings, writing=False) as app:
        return [
            (each.verdict.outcome.status, True)
            if each.stored.running and isinstance(each.verdict, Finish)
            else (each.stored.status, False)
            for each in await explain(app, workflow_id)
        ]
