"""Workers with the plugin: how they start, stop and fail, and what others of a process do."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from temporalio.api.workflowservice.v1 import DescribeWorkflowExecutionRequest
from temporalio.client import Client, WorkflowHistory
from temporalio.service import RPCStatusCode
from temporalio.worker import Replayer, Worker

from reconciler.core.errors import ConfigurationError
from reconciler.postgres.connection.engine import open_engine
from reconciler.worker import ReconcilerPlugin
from reconciler.worker.after_close import backlog
from reconciler.worker.after_close.notice import EndNotice
from tests.integration.worker.conftest import Site, locked_rows, running, waiting
from tests.support.polling import eventually
from tests.support.temporal.stubs import error
from tests.support.temporal.workflows import Scripted, Typed, charge
from tests.support.worker.workflows import Decorated


def plugin(site: Site, **options: Any) -> ReconcilerPlugin:
    return ReconcilerPlugin(site.database.engine, **{"report": "after_close", **options})


async def test_one_plugin_of_a_client_serves_several_workers(site: Site) -> None:
    config = site.client.config()
    # The second worker has no Scripted: on a client, the types may be those of any worker.
    config["plugins"] = [plugin(site, report="activity", after_close=["Scripted"])]
    client = Client(**config)
    async with (
        running(
            Worker(client, task_queue=site.task_queue, workflows=[Scripted], activities=[charge])
        ),
        running(Worker(client, task_queue="another", workflows=[Typed], activities=[charge])),
    ):
        await site.closed(await site.start("complete"))

    assert await site.outcome() == ("completed", None)
    assert await site.reports() == 0


async def test_each_event_loop_settles_its_own(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DATABASE_URL", site.database.url)
    shared = ReconcilerPlugin(report="after_close")
    target = site.client.service_client.config.target_host

    async def elsewhere() -> None:
        client = await Client.connect(target, namespace=site.client.namespace)
        other = Worker(client, task_queue="another", workflows=[Scripted], plugins=[shared])
        async with running(other):
            handle = await client.start_workflow(
                "Scripted", args=["complete", ""], id=f"{site.workflow_id}/2", task_queue="another"
            )
            await handle.result()

    await site.database.insert(f"{site.workflow_id}/2")
    async with site.worker(shared):
        await site.closed(await site.start("complete"))
        await asyncio.to_thread(asyncio.run, elsewhere())

    assert await site.outcome() == ("completed", None)
    assert (await site.row(f"{site.workflow_id}/2"))["status"] == "completed"


async def test_a_worker_may_get_another_client(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    config = site.client.service_client.config
    renewed = await Client.connect(
        config.target_host, namespace=site.client.namespace, runtime=config.runtime
    )
    async with site.worker(plugin(site)) as worker:
        service = site.client.workflow_service
        monkeypatch.setattr(service, "describe_workflow_execution", None)
        worker.client = renewed
        assert await (await site.start("complete", "done")).result() == "done"
    monkeypatch.undo()

    assert await site.outcome() == ("completed", None)


async def test_types_that_are_not_named_report_by_the_activity(site: Site) -> None:
    async with site.worker(plugin(site, report="activity", after_close=["Typed"])):
        await site.closed(await site.start("complete"))

    assert await site.outcome() == ("completed", None)
    assert await site.reports() == 1


def test_a_worker_needs_the_types_that_are_named(site: Site) -> None:
    with pytest.raises(ConfigurationError, match="after_close= names Typo, which this worker"):
        Worker(
            site.client,
            task_queue="q",
            workflows=[Scripted],
            plugins=[plugin(site, after_close=["Typo"])],
        )


def test_a_worker_needs_a_database_and_a_data_converter(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    options: dict[str, Any] = {"task_queue": "q", "workflows": [Scripted]}
    monkeypatch.delenv("DATABASE_URL", raising=False)
    some = ReconcilerPlugin(after_close=["Scripted"], task_queue="db")
    with pytest.raises(ConfigurationError, match="DATABASE_URL is not set"):
        Worker(site.client, plugins=[some], **options)

    monkeypatch.setenv("RECONCILER_DATA_CONVERTER", "not.there:converter")
    with pytest.raises(ConfigurationError, match="RECONCILER_DATA_CONVERTER"):
        Worker(site.client, plugins=[plugin(site)], **options)


async def test_a_worker_without_activities_takes_no_activity_tasks(site: Site) -> None:
    async with site.worker(plugin(site), activities=[], no_remote_activities=True) as worker:
        await site.closed(await site.start("complete"))

    assert await site.outcome() == ("completed", None)
    assert not worker.config()["activities"]
    async with site.worker(plugin(site), no_remote_activities=True) as worker:
        assert worker.config()["activities"] == [charge], "local ones"


async def test_the_decorator_does_nothing_beside_it(site: Site) -> None:
    async with site.bare_worker(workflows=[Decorated], activities=[], plugins=[plugin(site)]):
        await site.closed(await site.start("fail", {"value": "x"}, workflow="Decorated"))

    assert await site.outcome() == ("failed", "OrderFailed: no money")
    assert await site.reports() == 0


async def test_an_evicted_workflow_has_not_ended(site: Site, notices: list[EndNotice]) -> None:
    async with site.worker(plugin(site), max_cached_workflows=0):
        handle = await site.start("wait")
        await site.world.first_task_done()
        assert await handle.query("is_released") is False
    async with site.worker(plugin(site)):
        assert await handle.query("is_released") is False

    assert notices == []


@pytest.mark.usefixtures("unhurried")
async def test_a_stopping_worker_writes_what_it_has_noticed(site: Site) -> None:
    may_stop = asyncio.Event()

    async def run() -> None:
        async with site.worker(plugin(site)):
            await may_stop.wait()

    await site.start("complete")
    async with locked_rows(site.database) as rows:
        stopping = asyncio.create_task(run())
        await eventually(lambda: waiting(site))
        may_stop.set()
        await asyncio.sleep(0)
        await rows.release()
    await stopping

    assert await site.outcome() == ("completed", None)


async def test_a_database_that_is_down_is_logged_once(
    site: Site, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(backlog, "WRITES", (0.0, 0.01, 0.01))
    engine = open_engine("postgresql://app@127.0.0.1:1/app")
    async with site.worker(ReconcilerPlugin(engine, report="after_close")):
        handle = await site.start("complete", "done")
        assert await handle.result() == "done"

    (line,) = [each for each in caplog.messages if "could not be written" in each]
    assert line.startswith(
        f"the end of workflow {site.workflow_id} could not be written to its row"
    )
    assert "the database is unreachable" in line
    assert await site.outcome() == ("running", None)


async def test_a_denied_description_is_logged_once_and_not_repeated(
    site: Site, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    asked: list[DescribeWorkflowExecutionRequest] = []

    async def deny(request: DescribeWorkflowExecutionRequest, **_: Any) -> None:
        asked.append(request)
        raise error(RPCStatusCode.PERMISSION_DENIED, "Request unauthorized.")

    async with site.worker(plugin(site)):
        service = site.client.workflow_service
        monkeypatch.setattr(service, "describe_workflow_execution", deny)
        for _ in range(2):
            assert await (await site.world.start("complete", "done")).result() == "done"
    monkeypatch.undo()

    assert len(asked) == 2
    (line,) = [each for each in caplog.messages if "could not be written" in each]
    assert "refuses access to namespace" in line


async def test_a_table_that_does_not_fit(
    site: Site, notices: list[EndNotice], caplog: pytest.LogCaptureFixture
) -> None:
    await site.database.execute("ALTER TABLE workflow_executions DROP error_message")
    async with site.worker(plugin(site)):
        await eventually(lambda: is_logged(caplog))
        await site.closed(await site.world.start("complete"))

    assert notices == []


async def is_logged(caplog: pytest.LogCaptureFixture) -> bool:
    return any("workflows do not report their ends" in line for line in caplog.messages)


class TestRollout:
    @pytest.mark.parametrize("script", ["complete", "fail", "wait"])
    async def test_histories_of_either_way_are_replayed_in_the_other(
        self, site: Site, script: str
    ) -> None:
        histories = []
        for way in ("activity", "after_close"):
            async with site.worker(plugin(site, report=way)):
                handle = await site.start(script)
                if script == "wait":
                    await handle.signal("release")
                await site.closed(handle)
            histories.append(await handle.fetch_history())

        for history in histories:
            for way in ("activity", "after_close"):
                replayer = Replayer(workflows=[Scripted], plugins=[plugin(site, report=way)])
                await replayer.replay_workflow(WorkflowHistory(site.workflow_id, history.events))

    @pytest.mark.usefixtures("unhurried")
    async def test_a_report_that_is_being_written_is_finished(
        self, site: Site, notices: list[EndNotice]
    ) -> None:
        handle = await site.start("complete")
        async with locked_rows(site.database), site.worker(plugin(site, report="activity")):
            await eventually(lambda: waiting(site))
        async with site.worker(plugin(site)):
            await site.closed(handle)

        assert await site.outcome() == ("completed", None)
        assert await site.reports() == 1
        assert notices == []

    @pytest.mark.parametrize(
        ("before", "after"), [("activity", "after_close"), ("after_close", "activity")]
    )
    async def test_an_open_workflow_reports_as_the_new_worker_does(
        self, site: Site, before: str, after: str
    ) -> None:
        async with site.worker(plugin(site, report=before)):
            handle = await site.start("wait")
            await site.world.first_task_done()
        async with site.worker(plugin(site, report=after)):
            await handle.signal("release")
            await site.closed(handle)

        assert await site.outcome() == ("completed", None)
        assert await site.reports() == (after == "activity")
