"""The activity by itself: its arguments, its errors, and the row it finishes."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest
import sqlalchemy as sa
from sqlalchemy.engine import make_url
from sqlalchemy.ext.asyncio import AsyncEngine, async_sessionmaker, create_async_engine
from temporalio.api.workflowservice.v1 import DescribeWorkflowExecutionRequest
from temporalio.client import Client
from temporalio.exceptions import ApplicationError
from temporalio.service import RPCError, RPCStatusCode
from temporalio.testing import ActivityEnvironment

from reconciler.postgres.connection.engine import open_engine
from reconciler.worker import status_activity
from reconciler.worker.activity import StatusActivity
from reconciler.worker.database import writer
from tests.conftest import Database
from tests.integration.postgres.rows.test_rejections import trigger
from tests.integration.worker.conftest import locked_rows
from tests.support.network.silent import silent_server

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)


async def run(database: Database, *arguments: object, **options: Any) -> bool:
    """Call the activity over the application's engine, scheduled at noon."""
    environment = ActivityEnvironment()
    environment.info = replace(environment.info, scheduled_time=NOON)
    activity = options.get("activity") or status_activity(database.engine)
    changed: bool = await environment.run(activity, *arguments)
    return changed


async def error_of(database: Database, *arguments: object, **options: Any) -> ApplicationError:
    with pytest.raises(ApplicationError) as raised:
        await run(database, *arguments, **options)
    return raised.value


async def row(database: Database) -> Sequence[object]:
    fields = await database.fetch(
        "SELECT status::text, error_message, completed_at FROM workflow_executions"
    )
    return tuple(fields[0].values())


@pytest.fixture
def far_west(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A machine whose local time is not UTC."""
    monkeypatch.setenv("TZ", "Pacific/Honolulu")
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()


class TestWhatIsWritten:
    async def test_a_completion(self, database: Database) -> None:
        await database.insert("w", "r")

        assert await run(database, "w", "completed", None, "r") is True
        assert await row(database) == ("completed", None, NOON)

    async def test_a_failure_with_its_time(self, database: Database) -> None:
        await database.insert("w", "r")
        eleven = NOON.replace(hour=11)

        assert await run(database, "w", "failed", "no\nmoney", "r", eleven) is True
        assert await row(database) == ("failed", "no money", eleven)

    async def test_a_time_without_a_zone_is_utc(self, database: Database, far_west: None) -> None:
        await database.insert("w", "r")

        await run(database, "w", "failed", None, "r", NOON.replace(tzinfo=None))

        assert await row(database) == ("failed", None, NOON)

    async def test_times_are_strings_if_not_all_arguments_are_given(
        self, database: Database
    ) -> None:
        await database.insert("w", "r")

        await run(database, "w", "failed", None, "r", "2026-01-01T12:00:00Z", "2026-01-01T11:59:00")

        assert await row(database) == ("failed", None, NOON)

    async def test_only_the_table_is_needed(self, database: Database) -> None:
        await database.execute("DROP SCHEMA reconciler CASCADE")
        await database.insert("w", "r")

        assert await run(database, "w", "completed", None, "r") is True

    async def test_a_missing_or_finished_row_is_no_error(self, database: Database) -> None:
        assert await run(database, "w", "completed", None, "r", NOON, NOON) is False

        await database.insert("w", "r", status="failed", error_message="before")
        assert await run(database, "w", "completed", None, "r", NOON, NOON) is False
        assert await row(database) == ("failed", "before", None)

    @pytest.mark.parametrize("text", ["x" * 1_000_000, "\x00" * 5 + "x" * 1_000_000])
    async def test_a_megabyte_is_cut_and_nul_is_removed(
        self, database: Database, text: str
    ) -> None:
        await database.insert("w", "r")

        await run(database, "w", "failed", text, "r")

        assert (await row(database))[1] == "x" * 1999 + "…"

    async def test_a_message_is_cut_to_the_length_of_the_column(self, database: Database) -> None:
        await database.execute(
            "ALTER TABLE workflow_executions ALTER error_message TYPE varchar(10)"
        )
        await database.insert("w", "r")

        await run(database, "w", "failed", "QuotaExceeded: zone limit", "r")

        assert (await row(database))[1] == "QuotaExce…"

    async def test_half_a_surrogate_pair_is_removed(self, database: Database) -> None:
        await database.insert("w", "r")

        await run(database, "w", "failed", "no file \udcff", "r")

        assert (await row(database))[1] == "no file"


class TestStatuses:
    @pytest.mark.parametrize(
        ("status", "stored"),
        [
            ("done", "done"),
            ("broken", "broken"),
            ("stopped", "stopped"),
            ("COMPLETED", "done"),
            ("FAILED", "broken"),
            ("CANCELED", "stopped"),
            ("TERMINATED", "broken"),
            ("TIMED_OUT", "broken"),
        ],
    )
    async def test_values_of_the_column_and_names_of_temporal_are_accepted(
        self, database: Database, monkeypatch: pytest.MonkeyPatch, status: str, stored: str
    ) -> None:
        monkeypatch.setenv("RECONCILER_STATUSES__COMPLETED", "done")
        monkeypatch.setenv("RECONCILER_STATUSES__FAILED", "broken")
        monkeypatch.setenv("RECONCILER_STATUSES__CANCELED", "stopped")
        await database.insert("w", "r")

        assert await run(database, "w", status, None, "r") is True
        assert (await row(database))[0] == stored

    async def test_an_end_without_a_value_leaves_the_row(
        self, database: Database, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("RECONCILER_STATUSES__COMPLETED", "")
        await database.insert("w", "r")

        assert await run(database, "w", "COMPLETED", None, "r", None, NOON) is False
        assert (await row(database))[0] == "running"
        assert await run(database, "w", "CANCELED", None, "r") is True
        assert (await row(database))[0] == "failed"

    @pytest.mark.parametrize("status", ["running", "finished", "", "CONTINUED_AS_NEW", "x" * 10**6])
    async def test_any_other_status_is_rejected(self, database: Database, status: str) -> None:
        await database.insert("w", "r")

        error = await error_of(database, "w", status, None, "r")

        assert error.non_retryable
        assert error.type == "ConfigurationError"
        assert "is none of completed, failed: " in error.message
        assert len(error.message) < 300
        assert (await row(database))[0] == "running"

    async def test_a_value_missing_from_the_enum_is_rejected(self, database: Database) -> None:
        await database.execute(
            "CREATE TYPE state AS ENUM ('running', 'completed');"
            "DROP INDEX reconciler_workflow_executions_running,"
            " reconciler_workflow_executions_workflow_id;"
            "ALTER TABLE workflow_executions ALTER status DROP DEFAULT,"
            " ALTER status TYPE state USING status::state"
        )
        await database.insert("w", "r", status="running")

        error = await error_of(database, "w", "failed", None, "r")

        assert error.non_retryable
        assert error.message == (
            "column status of workflow_executions, state of running, completed, "
            "cannot hold 'failed' (RECONCILER_STATUSES__FAILED)"
        )


class TestErrors:
    async def test_a_missing_column_until_it_is_back(self, database: Database) -> None:
        await database.insert("w", "r")
        await database.execute("ALTER TABLE workflow_executions RENAME completed_at TO ended")
        activity = status_activity(database.engine)

        error = await error_of(database, "w", "completed", None, "r", activity=activity)
        await database.execute("ALTER TABLE workflow_executions RENAME ended TO completed_at")

        assert error.non_retryable
        assert error.message == (
            "table workflow_executions has no column completed_at: "
            "set RECONCILER_COLUMNS__COMPLETED_AT (empty: no such column), "
            "or run `reconciler migrate`"
        )
        assert await run(database, "w", "completed", None, "r", activity=activity) is True

    async def test_a_triggers_error_is_not_the_tables(self, database: Database) -> None:
        await database.insert("w", "r")
        await trigger(database, "BEGIN INSERT INTO log VALUES (1); RETURN NEW; END", when="true")

        error = await error_of(database, "w", "completed", None, "r")

        assert str(error).endswith(
            'cannot write workflow_executions: relation "log" does not exist, in function act() '
            "line 1: write its schema in act(), or ALTER FUNCTION act() SET search_path = …"
        )

    async def test_no_table(self, empty_database: Database) -> None:
        error = await error_of(empty_database, "w", "completed", None, "r")

        assert error.non_retryable
        assert error.message.startswith("there is no table workflow_executions in this database")

    @pytest.mark.parametrize("id_", ["nul\x00", "half \udcff"])
    async def test_an_id_that_no_row_can_contain(self, database: Database, id_: str) -> None:
        error = await error_of(database, id_, "completed", None, "r")

        assert error.non_retryable
        assert error.message.startswith("cannot write workflow_executions: ")
        assert "DATABASE_URL" not in error.message

    async def test_an_unreachable_database_is_retried(self, database: Database) -> None:
        engine = create_async_engine("postgresql+asyncpg://app:secret@127.0.0.1:1/app")

        error = await error_of(
            database, "w", "completed", None, "r", activity=status_activity(engine)
        )

        assert not error.non_retryable
        assert error.type == "DatabaseUnusable"
        assert "the database is unreachable" in error.message
        assert error.message.endswith(": check the application's engine")
        assert "secret" not in error.message

    async def test_a_silent_database(
        self, database: Database, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(writer, "WRITE_TIMEOUT", 0.2)

        async with silent_server() as silent:
            engine = create_async_engine(f"postgresql+asyncpg://app@127.0.0.1:{silent.port}/app")
            error = await error_of(
                database, "w", "completed", None, "r", activity=status_activity(engine)
            )

        assert not error.non_retryable
        assert "no free connection, or no answer from the database, within 0.2 s" in error.message

    async def test_a_row_that_stays_locked(
        self, database: Database, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        # The server itself gives up, so no backend keeps waiting.
        monkeypatch.setattr(writer, "WRITE_TIMEOUT", 30)
        await database.insert("w", "r")
        engine = create_async_engine(make_url(database.url).set(drivername="postgresql+asyncpg"))
        async with locked_rows(database):
            error = await error_of(
                database, "w", "completed", None, "r", activity=status_activity(engine)
            )
        await engine.dispose()

        assert not error.non_retryable
        assert "canceling statement due to lock timeout" in error.message

    async def test_an_id_unknown_to_temporal(
        self, database: Database, temporal: Client, workflow_id: str
    ) -> None:
        environment = ActivityEnvironment(client=temporal)

        with pytest.raises(ApplicationError, match=f"no workflow {workflow_id}: pass run_id") as no:
            await environment.run(status_activity(database.engine), workflow_id, "failed")

        assert no.value.non_retryable

    @pytest.mark.parametrize("code", [RPCStatusCode.CANCELLED, RPCStatusCode.UNAVAILABLE])
    async def test_a_connection_to_temporal_that_breaks_is_tried_once_more(
        self,
        database: Database,
        temporal: Client,
        workflow_id: str,
        monkeypatch: pytest.MonkeyPatch,
        code: RPCStatusCode,
    ) -> None:
        service = temporal.workflow_service
        describe, breaks = service.describe_workflow_execution, iter([True])

        async def breaking(request: DescribeWorkflowExecutionRequest) -> object:
            if next(breaks, False):
                raise RPCError("operation was canceled", code, b"")
            return await describe(request)

        monkeypatch.setattr(service, "describe_workflow_execution", breaking)
        environment = ActivityEnvironment(client=temporal)

        with pytest.raises(ApplicationError, match="Temporal knows no workflow"):
            await environment.run(status_activity(database.engine), workflow_id, "failed")

        assert next(breaks, None) is None

    async def test_a_workflow_id_without_a_status(self, database: Database) -> None:
        error = await error_of(database, "w")

        assert error.non_retryable
        assert error.message == "status is missing: pass workflow_id and status"

    def test_an_engine_of_the_wrong_type(self) -> None:
        with pytest.raises(TypeError, match=r"engine= takes SQLAlchemy's AsyncEngine .* not str"):
            status_activity("postgresql://app@db/app")  # type: ignore[arg-type]


class TestEngine:
    async def test_the_applications_engine_stays_open_and_the_table_is_read_once(
        self, database: Database
    ) -> None:
        await database.insert("w", "r")
        engine = create_async_engine(make_url(database.url).set(drivername="postgresql+asyncpg"))
        activity = StatusActivity(engine)
        update = activity.update_workflow_execution_status
        await run(database, "w", "completed", None, "r", NOON, NOON, activity=update)
        statements: list[str] = []
        pool = engine.pool

        @sa.event.listens_for(engine.sync_engine, "before_cursor_execute")
        def record(_c: object, _d: object, statement: str, *_: object) -> None:
            statements.append(statement)

        await run(database, "w", "completed", None, "r", NOON, NOON, activity=update)
        await activity.close()

        assert [statement.split()[0] for statement in statements] == ["WITH"]
        assert engine.pool is pool
        await engine.dispose()

    async def test_a_function_that_makes_the_engine(self, database: Database) -> None:
        await database.insert("w", "r")
        activity = status_activity(lambda: database.engine)

        assert await run(database, "w", "completed", None, "r", activity=activity) is True

    async def test_a_function_that_makes_something_else(self, database: Database) -> None:
        sessions = async_sessionmaker(database.engine)
        activity = status_activity(sessions)  # type: ignore[arg-type]

        error = await error_of(database, "w", "failed", None, "r", activity=activity)

        assert error.non_retryable
        assert error.message == "engine= made a AsyncSession where an AsyncEngine is needed"

    async def test_each_event_loop_has_its_own_engine(self, database: Database) -> None:
        await database.insert("w", "r")
        opened: list[AsyncEngine] = []

        def engine() -> AsyncEngine:
            opened.append(open_engine(database.url))
            return opened[-1]

        activity = status_activity(engine)

        async def once() -> bool:
            changed = await run(
                database, "w", "completed", None, "r", NOON, NOON, activity=activity
            )
            await opened[-1].dispose()
            return changed

        changed = [await asyncio.to_thread(asyncio.run, once()) for _ in range(2)]

        assert changed == [True, False]
        assert len(opened) == 2

    async def test_an_engine_for_the_url_in_the_environment(
        self, database: Database, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("DATABASE_URL", database.url)
        await database.insert("w", "r")

        activity = status_activity()

        assert await run(database, "w", "completed", None, "r", activity=activity) is True
        await activity.__self__.close()  # type: ignore[attr-defined]

    @pytest.mark.parametrize(
        ("name", "value", "message"),
        [
            ("DATABASE_URL", "mysql://db", "DATABASE_URL: is a URL of mysql"),
            ("RECONCILER_TABLE", "a.b.c", "RECONCILER_TABLE: must be table or schema.table"),
        ],
    )
    async def test_invalid_settings(
        self,
        database: Database,
        monkeypatch: pytest.MonkeyPatch,
        name: str,
        value: str,
        message: str,
    ) -> None:
        monkeypatch.setenv(name, value)

        error = await error_of(database, "w", "failed", None, "r", activity=status_activity())

        assert error.non_retryable
        assert error.message.startswith(message)

    async def test_missing_settings(
        self, database: Database, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.delenv("DATABASE_URL", raising=False)

        error = await error_of(database, "w", "failed", None, "r", activity=status_activity())

        assert error.non_retryable
        assert error.message.startswith("DATABASE_URL is not set: set it, or pass the application")
