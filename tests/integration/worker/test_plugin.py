"""Which workflows report, how to add the plugin, and how to report without it."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import AsyncIterator, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from temporalio import activity
from temporalio.api.common.v1 import Payload
from temporalio.api.failure.v1 import Failure
from temporalio.client import Client
from temporalio.converter import (
    DataConverter,
    DefaultFailureConverter,
    DefaultFailureConverterWithEncodedAttributes,
    DefaultPayloadConverter,
    PayloadConverter,
)
from temporalio.exceptions import ApplicationError
from temporalio.service import RPCError
from temporalio.testing import ActivityEnvironment
from temporalio.worker import (
    ExecuteWorkflowInput,
    Interceptor,
    Worker,
    WorkflowInboundInterceptor,
    WorkflowInterceptorClassInput,
)

from reconciler.core.model import Closed, CloseStatus
from reconciler.postgres.connection.engine import open_engine
from reconciler.worker import ReconcilerPlugin, status_activity
from reconciler.worker.report import ACTIVITY
from tests.conftest import Database
from tests.integration.worker.conftest import Site
from tests.support.polling import eventually
from tests.support.temporal.cancelling import cancel
from tests.support.temporal.workflows import Scripted, charge
from tests.support.worker.workflows import (
    ELSEWHERE,
    Argument,
    ByHand,
    Decorated,
    Derived,
    DerivedAndDecorated,
    Elsewhere,
    Signing,
    Slotted,
)


class TestSelection:
    @pytest.mark.parametrize(
        ("options", "reports"),
        [
            ({"only": ["Scripted"]}, True),
            ({"only": (each for each in ["Scripted"])}, True),
            ({"only": ["Typed"]}, False),
            ({"only": []}, False),
            ({"skip": {"Scripted"}}, False),
            ({"skip": ("Typed",)}, True),
            ({"only": ["Scripted"], "skip": ["Scripted"]}, False),
        ],
    )
    async def test_by_workflow_type(
        self, site: Site, options: dict[str, Any], reports: bool
    ) -> None:
        async with site.worker(ReconcilerPlugin(site.database.engine, **options)):
            await site.closed(await site.start("complete"))

        assert await site.outcome() == ("completed" if reports else "running", None)
        assert await site.reports() == reports

    @pytest.mark.parametrize(("children", "status"), [(False, "running"), (True, "completed")])
    async def test_children_report_if_the_option_is_set(
        self, site: Site, children: bool, status: str
    ) -> None:
        child = f"{site.workflow_id}/child"
        await site.database.insert(child)
        async with site.worker(ReconcilerPlugin(site.database.engine, children=children)):
            await site.closed(await site.start("complete with a child"))

        assert await site.outcome() == ("completed", None)
        assert (await site.row(child))["status"] == status

    async def test_a_child_that_is_cancelled_with_its_parent(self, site: Site) -> None:
        child = f"{site.workflow_id}/child"
        await site.database.insert(child)
        async with site.worker(ReconcilerPlugin(site.database.engine, children=True)):
            handle = await site.start("wait for a child")
            await eventually(lambda: has_started(site.client, child))
            await cancel(handle, "ticket 42")
            await site.closed(handle)
            closed = await site.world.probe.observe_current(child)

        row = await site.row(child)
        assert isinstance(closed, Closed)
        assert closed.status is CloseStatus.CANCELED
        assert (row["status"], row["error_message"]) == ("failed", closed.failure)

    @pytest.mark.parametrize("name", ["only", "skip"])
    @pytest.mark.parametrize("value", ["Scripted", [Scripted]])
    def test_only_names_are_accepted(self, name: str, value: Any) -> None:
        with pytest.raises(TypeError, match=f"{name}= takes a collection of workflow types"):
            ReconcilerPlugin(**{name: value})


async def has_started(client: Client, workflow_id: str) -> bool:
    try:
        description = await client.get_workflow_handle(workflow_id).describe()
    except RPCError:
        return False
    return description.history_length >= 4


class TestAddingIt:
    async def test_on_the_client(self, site: Site) -> None:
        config = site.client.config()
        config["plugins"] = [ReconcilerPlugin(site.database.engine)]
        client = Client(**config)
        async with Worker(
            client, task_queue=site.task_queue, workflows=[Scripted], activities=[charge]
        ):
            await site.closed(await site.start("complete"))

        assert await site.outcome() == ("completed", None)
        assert await site.reports() == 1

    @pytest.mark.filterwarnings("ignore:The same plugin type")
    async def test_on_client_and_worker_is_rejected(
        self, temporal: Client, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("DATABASE_URL", "postgresql://app@db/app")
        config = temporal.config()
        config["plugins"] = [ReconcilerPlugin()]

        with pytest.raises(ValueError, match="given twice: pass it to the client or to the worker"):
            Worker(
                Client(**config), task_queue="q", workflows=[Scripted], plugins=[ReconcilerPlugin()]
            )

    async def test_a_worker_with_workflows_only(self, site: Site) -> None:
        async with site.worker(activities=[]):
            await site.closed(await site.start("complete"))

        assert await site.outcome() == ("completed", None)

    async def test_a_worker_without_activity_tasks_is_rejected(self, temporal: Client) -> None:
        with pytest.raises(ValueError, match=r"no_remote_activities.*task_queue="):
            Worker(
                temporal,
                task_queue="q",
                workflows=[Scripted],
                plugins=[ReconcilerPlugin()],
                no_remote_activities=True,
            )

    async def test_the_write_on_another_worker(self, site: Site) -> None:
        queue = f"{site.task_queue}-activities"
        plugin = ReconcilerPlugin(task_queue=queue)
        async with (
            site.worker(plugin, activities=[], no_remote_activities=True),
            Worker(
                site.client, task_queue=queue, activities=[status_activity(site.database.engine)]
            ),
        ):
            await site.closed(await site.start("complete"))

        assert await site.outcome() == ("completed", None)

    async def test_the_worker_already_has_an_activity_of_that_name(
        self, temporal: Client, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("DATABASE_URL", "postgresql://app@db/app")

        @activity.defn(name=ACTIVITY)
        async def own() -> None: ...

        with pytest.raises(ValueError, match=f"More than one activity named {ACTIVITY}"):
            Worker(temporal, task_queue="q", activities=[own], plugins=[ReconcilerPlugin()])

    async def test_it_sees_the_end_as_other_interceptors_leave_it(self, site: Site) -> None:
        async with site.worker(interceptors=[Forgiving()]):
            closed = await site.closed(await site.start("fail"))

        assert closed.status is CloseStatus.COMPLETED
        assert await site.outcome() == ("completed", None)

    async def test_its_own_connections_are_closed_with_the_worker(
        self, site: Site, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("DATABASE_URL", site.database.url)
        plugin = ReconcilerPlugin()
        async with site.worker(plugin):
            await site.closed(await site.start("complete"))
            async with Worker(
                site.client, task_queue="another", workflows=[Scripted], plugins=[plugin]
            ):
                assert await connections(site.database) > 0
            # The first worker can still write. It may need a new connection, if the second one was
            # stopped while it looked at the table.
            await site.database.execute("UPDATE workflow_executions SET status = 'finished'")
            await site.closed(await site.start("complete"))
        await eventually(lambda: none_left(site.database))  # the server may take a moment

        rows = await site.database.fetch("SELECT status FROM workflow_executions ORDER BY id")
        assert [row["status"] for row in rows] == ["finished", "completed"]

    async def test_with_encoded_failures(self, site: Site) -> None:
        # The row must not contain the plain text of what is encoded in Temporal.
        async with with_converter(
            site, failure_converter_class=DefaultFailureConverterWithEncodedAttributes
        ):
            closed = await site.closed(await site.start("fail"))

        assert await site.outcome() == ("failed", "OrderFailed: Encoded failure")
        assert closed.failure == "OrderFailed: Encoded failure"

    async def test_with_a_failure_converter_that_has_a_context(self, site: Site) -> None:
        async with with_converter(site, failure_converter_class=Signing):
            closed = await site.closed(await site.start("fail"))

        assert closed.failure == f"OrderFailed: no money, in {site.workflow_id}"
        assert await site.outcome() == ("failed", closed.failure)

    @pytest.mark.parametrize("failures", [[], [Exception]])
    async def test_with_a_failure_converter_that_makes_other_errors(
        self, site: Site, failures: list[type[Exception]]
    ) -> None:
        down = open_engine("postgresql://app@127.0.0.1:1/app")
        async with with_converter(
            site,
            ReconcilerPlugin(down),
            failures=failures,
            failure_converter_class=Mute,
        ):
            closed = await site.closed(await site.start("complete"))

        assert closed.status is CloseStatus.COMPLETED

    async def test_with_a_failure_converter_that_fails(self, site: Site) -> None:
        async with with_converter(site, failure_converter_class=Unable):
            closed = await site.closed(await site.start("fail"))

        assert closed.status is CloseStatus.FAILED  # the SDK sends half a failure
        assert await site.outcome() == ("running", None)

    async def test_with_a_converter_that_makes_two_payloads(self, site: Site) -> None:
        async with with_converter(site, payload_converter_class=Doubling):
            handle = await site.start("complete")
            await eventually(lambda: has_failed_a_task(site))
            await handle.terminate()

        assert await site.outcome() == ("running", None)

    async def test_with_a_converter_that_rejects_the_report(self, site: Site) -> None:
        async with with_converter(site, payload_converter_class=Picky):
            closed = await site.closed(await site.start("complete"))

        assert closed.status is CloseStatus.COMPLETED
        assert await site.outcome() == ("running", None)


@contextlib.asynccontextmanager
async def with_converter(
    site: Site,
    plugin: ReconcilerPlugin | None = None,
    failures: Sequence[type[BaseException]] = (),
    **options: Any,
) -> AsyncIterator[None]:
    """A worker with the plugin and this data converter."""
    config = site.client.config()
    config["data_converter"] = dataclasses.replace(DataConverter.default, **options)
    site.client = Client(**config)
    async with site.worker(plugin, workflow_failure_exception_types=failures):
        yield


async def has_failed_a_task(site: Site) -> bool:
    names = [event.WhichOneof("attributes") for event in await site.events()]
    return "workflow_task_failed_event_attributes" in names


class Doubling(DefaultPayloadConverter):
    """Makes two payloads of a result, which the SDK rejects."""

    def to_payloads(self, values: Sequence[Any]) -> list[Payload]:
        payloads = super().to_payloads(values)
        return payloads * 2 if values == ["no money"] else payloads


class Mute(DefaultFailureConverter):
    """Converts the failure of an activity to an error that is not Temporal's."""

    def from_failure(self, failure: Failure, payload_converter: PayloadConverter) -> BaseException:
        return KeyError(failure.message)


class Unable(DefaultFailureConverter):
    """Cannot convert the workflow's own failure."""

    def to_failure(
        self, exception: BaseException, payload_converter: PayloadConverter, failure: Failure
    ) -> None:
        if "no money" in str(exception):
            raise KeyError("no text")
        super().to_failure(exception, payload_converter, failure)


class Picky(DefaultPayloadConverter):
    """Accepts everything except reports."""

    def to_payloads(self, values: Sequence[Any]) -> list[Payload]:
        if any('"status"' in str(each) for each in values):
            raise TypeError("no reports, please")
        return super().to_payloads(values)


class Forgiving(Interceptor):
    """Turns every failure into a result."""

    def workflow_interceptor_class(
        self, input: WorkflowInterceptorClassInput
    ) -> type[WorkflowInboundInterceptor]:
        class Inbound(WorkflowInboundInterceptor):
            async def execute_workflow(self, input: ExecuteWorkflowInput) -> Any:
                with contextlib.suppress(ApplicationError):
                    return await self.next.execute_workflow(input)
                return "forgiven"

        return Inbound


async def connections(database: Database) -> int:
    """How many connections the plugin has opened."""
    rows = await database.fetch(
        "SELECT FROM pg_stat_activity WHERE datname = current_database()"
        " AND application_name = 'reconciler'"
    )
    return len(rows)


async def none_left(database: Database) -> bool:
    return await connections(database) == 0


ARGUMENT = {"value": "of a type that the workflow's function declares"}


async def test_a_row_of_the_next_workflow_is_left_alone(site: Site) -> None:
    now = datetime.now(UTC)
    async with site.worker():
        handle = await site.client.start_workflow(
            "Scripted", args=["wait", ""], id=site.workflow_id, task_queue=site.task_queue
        )
        await site.database.insert(site.workflow_id, created_at=now)
        await site.database.insert(site.workflow_id, created_at=now + timedelta(minutes=10))
        await handle.signal("release")
        await handle.result()

    assert [row["status"] for row in await site.rows()] == ["completed", "running"]


class TestByHand:
    async def test_the_decorator(self, site: Site) -> None:
        async with site.bare_worker(
            workflows=[Decorated], activities=[charge, status_activity(site.database.engine)]
        ):
            closed = await site.closed(await site.start("fail", ARGUMENT, workflow="Decorated"))

        assert await site.outcome() == ("failed", "OrderFailed: no money")
        assert closed.failure == "OrderFailed: no money"

    async def test_the_decorator_keeps_arguments_and_their_types(self, site: Site) -> None:
        async with site.bare_worker(
            workflows=[Decorated], activities=[status_activity(site.database.engine)]
        ):
            await site.database.insert(site.workflow_id)
            result = await site.client.execute_workflow(
                Decorated.run,
                args=["complete", Argument("typed")],
                id=site.workflow_id,
                task_queue=site.task_queue,
            )

            assert result == "Argument"
        assert await site.outcome() == ("completed", None)

    @pytest.mark.parametrize("workflow", ["Derived", "DerivedAndDecorated"])
    @pytest.mark.parametrize("plugin", [False, True])
    async def test_the_return_of_an_inherited_function_is_not_the_end(
        self, site: Site, workflow: str, plugin: bool
    ) -> None:
        plugins = [ReconcilerPlugin(site.database.engine)] if plugin else []
        activities = [] if plugin else [status_activity(site.database.engine)]
        async with site.bare_worker(
            workflows=[Derived, DerivedAndDecorated], activities=activities, plugins=plugins
        ):
            closed = await site.closed(await site.start("end", ARGUMENT, workflow=workflow))

        assert closed.failure == "OrderFailed: end"
        reports = plugin or workflow == "DerivedAndDecorated"
        assert await site.outcome() == (
            ("failed", "OrderFailed: end") if reports else ("running", None)
        )
        assert await site.reports() == reports

    async def test_the_decorator_with_options(self, site: Site) -> None:
        config = site.client.config()
        config["data_converter"] = dataclasses.replace(
            DataConverter.default, failure_converter_class=Signing
        )
        site.client = Client(**config)
        async with (
            site.bare_worker(workflows=[Elsewhere], activities=[]),
            Worker(
                site.client,
                task_queue=ELSEWHERE,
                activities=[status_activity(site.database.engine)],
            ),
        ):
            closed = await site.closed(await site.start("end", ARGUMENT, workflow="Elsewhere"))

        assert closed.failure == f"OrderFailed: end, in {site.workflow_id}"
        assert await site.outcome() == ("failed", closed.failure)

    async def test_on_a_class_that_has_only_slots(self, site: Site) -> None:
        async with site.bare_worker(
            workflows=[Slotted], activities=[], plugins=[ReconcilerPlugin(site.database.engine)]
        ):
            await site.closed(await site.start("done", ARGUMENT, workflow="Slotted"))

        assert await site.outcome() == ("completed", None)
        assert await site.reports() == 1

    async def test_the_decorator_reports_if_the_plugin_does_not(self, site: Site) -> None:
        plugin = ReconcilerPlugin(site.database.engine, skip=["Decorated"])
        async with site.worker(plugin, workflows=[Decorated], activities=[]):
            await site.closed(await site.start("complete", ARGUMENT, workflow="Decorated"))

        assert await site.outcome() == ("completed", None)
        assert await site.reports() == 1

    async def test_the_decorator_and_the_plugin_report_once(self, site: Site) -> None:
        async with site.worker(workflows=[Decorated]):
            await site.closed(await site.start("complete", ARGUMENT, workflow="Decorated"))

        assert await site.outcome() == ("completed", None)
        assert await site.reports() == 1

    @pytest.mark.parametrize("how", ["by name", "by function", "with the run id"])
    @pytest.mark.parametrize("rounds", [0, 1])
    async def test_the_activity_called_from_the_workflow(
        self, site: Site, how: str, rounds: int
    ) -> None:
        async with site.bare_worker(
            workflows=[ByHand], activities=[status_activity(site.database.engine)]
        ):
            row = await site.database.insert(site.workflow_id)
            handle = await site.client.start_workflow(
                ByHand.run,
                args=[how, rounds, site.workflow_id],
                id=site.workflow_id,
                task_queue=site.task_queue,
            )
            await site.database.execute(
                "UPDATE workflow_executions SET run_id = $1 WHERE id = $2",
                handle.first_execution_run_id,
                row,
            )
            assert await handle.result() is True

        assert await site.outcome() == ("failed", "by hand")

    async def test_a_later_workflow_with_the_same_id_is_left_alone(self, site: Site) -> None:
        # An activity can outlive its workflow.
        first = await site.start("wait")
        await first.terminate()
        await site.start("wait")
        environment = ActivityEnvironment(client=site.client)
        environment.info = dataclasses.replace(
            environment.info,
            workflow_id=site.workflow_id,
            workflow_run_id=first.first_execution_run_id,
        )

        await environment.run(
            status_activity(site.database.engine), site.workflow_id, "failed", "by hand"
        )

        assert [row["status"] for row in await site.rows()] == ["failed", "running"]

    async def test_the_row_of_another_workflow(self, site: Site) -> None:
        other = f"{site.workflow_id}-other"
        async with site.bare_worker(
            workflows=[ByHand, Scripted], activities=[status_activity(site.database.engine)]
        ):
            theirs = await site.client.start_workflow(
                "Scripted", args=["wait", ""], id=other, task_queue=site.task_queue
            )
            await site.database.insert(other, theirs.first_execution_run_id)
            await site.client.execute_workflow(
                ByHand.run,
                args=["by name", 0, other],
                id=site.workflow_id,
                task_queue=site.task_queue,
            )
            await theirs.terminate()

        assert (await site.row(other))["status"] == "failed"
