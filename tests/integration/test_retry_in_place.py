"""A Retry button: it marks the old row as running, starts the workflow id again, stores the run id.

Real passes, a backfill by a plan, an undo and the main path, on a real Temporal.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from temporalio.client import Client

from reconciler.app import undo as journal
from reconciler.app.apply_plan import run_plan
from reconciler.app.backfill import Request, run_backfill
from reconciler.app.explain import explain
from reconciler.app.wiring import open_app
from reconciler.core.model import Closed, LeaveReason
from reconciler.core.report.pass_report import PassReport
from reconciler.settings.load import load_settings
from reconciler.settings.model import Settings
from reconciler.worker.database.writer import RowWriter
from reconciler.worker.report import EndReport
from tests.conftest import Database
from tests.support.passes.operator import Operator

DAY, MINUTES = timedelta(days=1), timedelta(minutes=2)


@dataclass
class Application:
    """One row, whose workflow is started again under the same id."""

    database: Database
    temporal: Client
    workflow_id: str

    async def start(self) -> str:
        """Start the workflow; returns its run id."""
        handle = await self.temporal.start_workflow(
            "Scripted", args=["wait", ""], id=self.workflow_id, task_queue="nobody"
        )
        return str(handle.first_execution_run_id)

    async def end(self, why: str) -> None:
        await self.temporal.get_workflow_handle(self.workflow_id).terminate(reason=why)

    async def set(self, **columns: Any) -> None:
        """Update the row as an ORM does."""
        sets = [f"{name} = ${place}" for place, name in enumerate(columns, start=1)]
        if "updated_at" in await self.row():
            sets.append("updated_at = timezone('UTC', now())")
        await self.database.execute(
            f"UPDATE workflow_executions SET {', '.join(sets)}", *columns.values()
        )

    async def row(self) -> dict[str, Any]:
        return (await self.database.fetch("SELECT * FROM workflow_executions"))[0]


@pytest.fixture
async def application(
    database: Database,
    temporal: Client,
    temporal_address: str,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> Application:
    """Its row is a day old, and its run has failed."""
    monkeypatch.setenv("DATABASE_URL", database.url)
    monkeypatch.setenv("TEMPORAL_ADDRESS", temporal_address)
    monkeypatch.chdir(tmp_path)
    of = Application(database, temporal, f"retried-{uuid4()}")
    run_id, created = await of.start(), datetime.now(UTC) - DAY
    await of.end("yesterday's cause")
    await database.insert(of.workflow_id, run_id, created_at=created, status="failed")
    return of


async def once(settings: Settings) -> PassReport:
    async with open_app(settings, writing=True) as app:
        return await app.run_pass("once", dry_run=False)


async def left(settings: Settings) -> dict[LeaveReason, int]:
    return dict((await once(settings)).tally.left)


def touched() -> Settings:
    return load_settings(Settings, columns={"updated_at": "updated_at"})


YOUNG = {LeaveReason.TOO_YOUNG: 1}


@pytest.mark.parametrize("kind", ["timestamptz", "timestamp(3)"])
async def test_a_row_that_was_just_changed_is_left_until_its_new_run_is_known(
    application: Application, kind: str
) -> None:
    database, app = application.database, application
    await database.execute(
        f"ALTER TABLE workflow_executions ADD updated_at {kind} NOT NULL DEFAULT now()"
    )
    settings = touched()

    async def shift(by: timedelta) -> datetime:
        """Let time pass; returns the time of the last change."""
        await database.execute(
            "UPDATE workflow_executions SET updated_at = updated_at - $1::interval", by
        )
        changed: datetime = (await app.row())["updated_at"]
        return changed

    await app.set(status="running")
    assert await left(settings) == YOUNG
    run_id = await app.start()
    assert await left(settings) == YOUNG
    await app.set(run_id=run_id)
    await app.end("today's cause")
    assert await left(settings) == YOUNG
    before = await shift(MINUTES)

    report = await once(settings)

    row = await app.row()
    assert (row["status"], row["error_message"].split(": ")[-1]) == ("failed", "today's cause")
    assert row["updated_at"] - before > MINUTES / 2
    await shift(MINUTES)
    await journal.undo(settings, report.pass_id, dry_run=False)
    assert (await app.row())["status"] == "running"
    assert await left(settings) == YOUNG, "the undo has changed it"
    await shift(MINUTES)
    await run_backfill(settings, Request(output=Path("plan.jsonl")), Operator())
    await shift(timedelta(milliseconds=1))
    applying = Request(apply=True)
    await run_plan(settings, applying, Path("plan.jsonl"), Operator(), force=False)
    assert (await app.row())["status"] == "running", "it has changed since the plan was made"
    before = await shift(MINUTES)
    ended = EndReport(app.workflow_id, "COMPLETED", run_id, None)
    writer = RowWriter(database.engine, settings, owned=False)
    assert await writer.finish(ended, None, datetime.now(UTC))
    assert (await app.row())["updated_at"] - before > MINUTES / 2


async def test_a_run_that_ended_before_its_row_was_created_may_be_followed_by_another(
    application: Application,
) -> None:
    """Where the column for the creation time is set again by a retry."""
    app, settings = application, load_settings(Settings)

    async def has_other_run() -> bool:
        async with open_app(settings, writing=False) as opened:
            (explanation,) = await explain(opened, app.workflow_id)
        assert isinstance(explanation.observation, Closed)
        return explanation.observation.id_in_use

    await app.set(status="running", created_at=datetime.now(UTC) + timedelta(seconds=10))
    assert await left(settings) == YOUNG
    assert not await has_other_run()
    await app.start()
    assert await left(settings) == YOUNG
    assert await has_other_run()
