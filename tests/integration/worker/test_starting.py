"""What a worker with the plugin needs, and when it learns that something is missing."""

from __future__ import annotations

import logging

import pytest
from temporalio.worker import Worker

from reconciler.core.errors import ConfigurationError
from reconciler.postgres.connection.engine import open_engine
from reconciler.worker import ReconcilerPlugin, tables
from reconciler.worker.database import source
from tests.integration.worker.conftest import Site
from tests.support.polling import eventually
from tests.support.temporal.workflows import Scripted

LOGGER = "reconciler.worker"


async def test_a_missing_url_is_an_error_of_the_worker(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    # An error while it runs would leave `async with` waiting for a worker that never began.
    monkeypatch.delenv("DATABASE_URL", raising=False)
    plugins = [ReconcilerPlugin()]

    with pytest.raises(ConfigurationError, match="DATABASE_URL is not set: set it, or pass"):
        Worker(site.client, task_queue=site.task_queue, workflows=[Scripted], plugins=plugins)


async def test_an_engine_that_cannot_be_made_is_logged(
    site: Site, caplog: pytest.LogCaptureFixture
) -> None:
    async with site.worker(ReconcilerPlugin(object)):  # type: ignore[arg-type]
        await eventually(lambda: is_logged(caplog, logging.ERROR))

    (error,) = logged(caplog, logging.ERROR)
    assert error.endswith("engine= made a object where an AsyncEngine is needed")


async def test_a_worker_that_leaves_the_write_to_another_needs_none(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("DATABASE_URL", raising=False)
    elsewhere = f"{site.task_queue}-database"
    async with (
        site.worker(ReconcilerPlugin(site.database.engine), task_queue=elsewhere),
        site.worker(ReconcilerPlugin(task_queue=elsewhere)),
    ):
        await site.closed(await site.start("complete"))

    assert await site.outcome() == ("completed", None)


async def test_a_table_that_does_not_fit_is_one_error_and_holds_nothing(
    site: Site, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(tables, "CHECK_INTERVAL", 0.05)
    monkeypatch.setenv("RECONCILER_COLUMNS__ERROR_MESSAGE", "reason")
    given = ReconcilerPlugin(site.database.engine)
    with caplog.at_level(logging.INFO, LOGGER):
        async with site.worker(given):
            await eventually(lambda: is_logged(caplog, logging.ERROR))
            await site.closed(await site.start("complete"))
            assert await site.outcome() == ("running", None)
            assert await site.reports() == 0

            await site.database.execute("DELETE FROM workflow_executions")
            await site.database.execute("ALTER TABLE workflow_executions ADD reason text")
            await eventually(lambda: is_logged(caplog, logging.INFO))
            await site.closed(await site.start("complete"))
            assert await site.outcome() == ("completed", None)

    (error,) = logged(caplog, logging.ERROR)
    assert error == (
        "workflows do not report their ends: table workflow_executions has no column reason: set "
        "RECONCILER_COLUMNS__ERROR_MESSAGE (empty: no such column), or run `reconciler migrate`"
    )
    assert logged(caplog, logging.INFO) == ["the table fits now: workflows report their ends"]


async def test_each_start_of_a_worker_says_so(
    site: Site, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("RECONCILER_COLUMNS__ERROR_MESSAGE", "reason")
    given = ReconcilerPlugin(site.database.engine)
    for _ in range(2):
        caplog.clear()
        async with site.worker(given):
            await eventually(lambda: is_logged(caplog, logging.ERROR))


async def test_a_database_that_cannot_be_reached_is_no_error(
    site: Site, caplog: pytest.LogCaptureFixture
) -> None:
    down = open_engine("postgresql://app@127.0.0.1:1/app")
    with caplog.at_level(logging.DEBUG, LOGGER):
        async with site.worker(ReconcilerPlugin(down)):
            await eventually(lambda: is_logged(caplog, logging.DEBUG))

    assert logged(caplog, logging.WARNING) + logged(caplog, logging.ERROR) == []


async def test_unknown_variables_are_one_warning(
    site: Site, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(source, "_warned", set())
    monkeypatch.setenv("RECONCILER_LEDGER_CURRENCY", "EUR")
    with caplog.at_level(logging.WARNING, LOGGER):
        for _ in range(2):
            async with site.worker():
                await eventually(lambda: is_logged(caplog, logging.WARNING))

    (warning,) = logged(caplog, logging.WARNING)
    assert warning == (
        "ignoring RECONCILER_LEDGER_CURRENCY (environment): there is no such setting, if another "
        "program needs it, list it in RECONCILER_IGNORE"
    )


def logged(caplog: pytest.LogCaptureFixture, level: int) -> list[str]:
    records = [each for each in caplog.records if (each.name, each.levelno) == (LOGGER, level)]
    return [each.getMessage() for each in records]


async def is_logged(caplog: pytest.LogCaptureFixture, level: int, times: int = 1) -> bool:
    return len(logged(caplog, level)) >= times
