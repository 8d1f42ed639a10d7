"""Which table the activity writes to."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from temporalio.exceptions import ApplicationError
from temporalio.testing import ActivityEnvironment

from reconciler.settings import TableSettings
from reconciler.worker import ReconcilerPlugin, status_activity
from reconciler.worker.report import EndReport
from tests.conftest import Database
from tests.integration.worker.conftest import Site
from tests.integration.worker.targets.conftest import export_of

NOW = datetime.now(UTC)


@pytest.mark.parametrize(
    ("target", "message"),
    [
        (
            "refunds",
            (
                "the rows of this workflow are in target 'refunds', and reconciler.toml has "
                "only orders, exports"
            ),
        ),
        (
            None,
            (
                "nothing says which target the rows of this workflow are in, and "
                "reconciler.toml has orders, exports: name it in ReconcilerPlugin(targets=…) "
                "or @report_outcome(target=…)"
            ),
        ),
    ],
)
@pytest.mark.usefixtures("file")
async def test_for_no_target_of_the_worker(target: str | None, message: str) -> None:
    report = EndReport("w", "COMPLETED", "r", NOW, target=target)

    with pytest.raises(ApplicationError) as raised:
        await ActivityEnvironment().run(status_activity(), report.to_json())

    assert (raised.value.message, raised.value.non_retryable) == (message, True)


@pytest.mark.usefixtures("file")
async def test_by_hand(exports: Database) -> None:
    await exports.execute("INSERT INTO exports (workflow_id, temporal_run) VALUES ('w', 'r')")
    given = "w", "COMPLETED", None, "r", NOW, NOW, None, "exports"

    assert await ActivityEnvironment().run(status_activity(), *given) is True
    assert await export_of(exports, "w") == ("shipped", None)


async def test_an_earlier_version_named_no_target(database: Database) -> None:
    await database.insert("w", "r")
    report = EndReport("w", "COMPLETED", "r", NOW).to_json()
    only = {"orders": TableSettings()}

    activity = status_activity(database.engine, settings=only)
    assert await ActivityEnvironment().run(activity, report) is True


async def test_an_unknown_target_does_not_hold_the_workflow(site: Site) -> None:
    elsewhere = f"{site.task_queue}-database"
    async with (
        site.worker(ReconcilerPlugin(site.database.engine), task_queue=elsewhere),
        site.worker(ReconcilerPlugin(targets="orders", task_queue=elsewhere)),
    ):
        handle = await site.start("complete", "done")
        assert await handle.result() == "done"

    assert await site.outcome() == ("running", None)
    failures = [
        each.activity_task_failed_event_attributes.failure.message
        for each in await site.events()
        if each.HasField("activity_task_failed_event_attributes")
    ]
    assert failures == [
        "the rows of this workflow are in target 'orders', and reconciler.toml has no targets"
    ]
