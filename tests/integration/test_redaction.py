"""What matches RECONCILER_REDACT appears nowhere: not in the row, journal, log or terminal."""

from __future__ import annotations

import io
from datetime import UTC, datetime

import pytest
from pydantic import SecretStr
from rich.console import Console
from structlog.testing import capture_logs
from temporalio.testing import ActivityEnvironment

from reconciler.app.explain import explain, observe_id
from reconciler.app.overview.words import describe_observation
from reconciler.app.wiring import open_app
from reconciler.console.explain import print_explanations
from reconciler.core.model import OldValues
from reconciler.settings.model import Settings
from reconciler.worker import status_activity
from tests.conftest import Database
from tests.support.temporal.world import World

ADA = "ada@example.org"
HIDDEN = "OrderFailed: no account of [redacted]"


async def test_a_pass_redacts(database: Database, world: World) -> None:
    row = await world.ended(await world.start("fail", f"no account\nof {ADA}"))
    id_ = await database.insert(world.workflow_id, row.run_id, error_message=f"asked {ADA}")
    settings = Settings(database_url=SecretStr(database.url), redact=(r"\w+@[\w.]+",))
    temporal = {
        "target_host": world.client.service_client.config.target_host,
        "namespace": world.client.namespace,
    }
    screen = io.StringIO()
    with capture_logs() as lines:
        async with open_app(settings, writing=True, temporal=temporal) as app:
            print_explanations(await explain(app, world.workflow_id), Console(file=screen))
            observation, _ = await observe_id(app, world.workflow_id)
            screen.write(describe_observation(observation))
            shown = await app.old_values([id_])
            await app.run_pass("once", dry_run=False)

    assert (await database.row(id_))["error_message"] == HIDDEN
    (change,) = await database.fetch("SELECT new_error_message FROM reconciler.changes")
    assert change["new_error_message"] == HIDDEN
    assert [line["why"] for line in lines if line["event"] == "row_finished"] == [HIDDEN]
    assert ADA not in str(lines)
    assert screen.getvalue().count("[redacted]") == 3
    assert ADA not in screen.getvalue()
    assert shown == {id_: OldValues("running", None, "asked [redacted]")}


async def test_the_main_path_redacts(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RECONCILER_REDACT", r"\w+@[\w.]+")
    id_ = await database.insert("order-1", "run-1")

    await ActivityEnvironment().run(
        status_activity(database.engine),
        *("order-1", "failed", f"OrderFailed: no account\nof {ADA}", "run-1", datetime.now(UTC)),
    )

    assert (await database.row(id_))["error_message"] == HIDDEN
