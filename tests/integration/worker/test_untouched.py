"""A workflow ends as it does without the plugin, even if its result can be serialised only once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import timedelta
from inspect import signature
from typing import Any

import pytest
from google.protobuf.message import Message
from temporalio.api.common.v1 import Payload
from temporalio.api.failure.v1 import Failure
from temporalio.client import Client, WorkflowHandle
from temporalio.common import RetryPolicy
from temporalio.converter import (
    DataConverter,
    DefaultFailureConverterWithEncodedAttributes,
    DefaultPayloadConverter,
)
from temporalio.worker import Worker

from reconciler.worker import ReconcilerPlugin, status_activity
from tests.integration.worker.conftest import Site
from tests.integration.worker.test_snapshot import Looking, Plain, Salted
from tests.support.crossed import crossed
from tests.support.polling import eventually
from tests.support.worker.iterators import WORKFLOWS

KINDS = ["generator", "map", "zip", "nested"]


class Textual(Plain):
    """Accepts iterators as well."""

    def to_payloads(self, values: Sequence[Any]) -> list[Payload]:
        return super().to_payloads([list(e) if hasattr(e, "__next__") else e for e in values])


CONVERTERS = {
    "salted": replace(DataConverter.default, payload_converter_class=Salted),
    "plain": replace(DataConverter.default, payload_converter_class=Textual),
    "encoded": replace(
        DataConverter.default, failure_converter_class=DefaultFailureConverterWithEncodedAttributes
    ),
}


@dataclass
class Way:
    """A workflow and its worker."""

    reports: bool = False
    workflow: str = "Once"
    #: Of the plugin.
    plugin: dict[str, Any] = field(default_factory=dict)
    #: Of the worker.
    worker: dict[str, Any] = field(default_factory=dict)
    #: Of the start.
    start: dict[str, Any] = field(default_factory=dict)


def unpatched(_: object) -> bool:
    return False


WAYS = {
    "reported": Way(reports=True),
    "reported, evicted": Way(reports=True, worker={"max_cached_workflows": 0}),
    "by hand": Way(reports=True, workflow="OnceByHand"),
    "skipped": Way(plugin={"skip": ["Once"]}),
    "not chosen": Way(plugin={"only": []}),
    "with a signal": Way(workflow="OnceWithSignal", plugin={"handlers": False}),
    "of a short timeout": Way(start={"run_timeout": timedelta(seconds=9.9)}),
}
if "patch_activation_callback" in signature(Worker).parameters:  # a newer SDK
    WAYS["under a patch callback"] = Way(worker={"patch_activation_callback": unpatched})


async def ended(site: Site, way: Way, how: str, kind: str, *, bare: bool = False) -> Message:
    """The payload or the failure that Temporal got."""
    activities, plugins = [], []
    if way.workflow == "OnceByHand":
        activities = [status_activity(site.database.engine)]
    elif not bare:
        plugins = [ReconcilerPlugin(site.database.engine, **way.plugin)]
    site.task_queue += "-bare" if bare else ""
    async with site.bare_worker(
        workflows=WORKFLOWS, activities=activities, plugins=plugins, **way.worker
    ):
        handle: WorkflowHandle[Any, Any] = await site.client.start_workflow(
            way.workflow,
            args=[how, kind],
            id=site.workflow_id,
            task_queue=site.task_queue,
            **way.start,
        )
        await site.closed(handle)
        return await end_of(site)


async def end_of(site: Site, run_id: str | None = None) -> Message:
    event = (await site.events(run_id))[-1]
    end = getattr(event, event.WhichOneof("attributes") or "")
    if hasattr(end, "result"):
        (payload,) = end.result.payloads
        assert isinstance(payload, Payload)
        return payload
    failure: Failure = end.failure
    failure.stack_trace = ""
    failure.encoded_attributes.Clear()  # with another stack trace
    return failure


async def assert_untouched(site: Site, way: Way, how: str, kind: str) -> None:
    await site.database.insert(site.workflow_id)
    assert await ended(site, way, how, kind) == await ended(
        site, replace(way, workflow="Once"), how, kind, bare=True
    )
    assert ((await site.row())["status"] != "running") == way.reports


@pytest.mark.parametrize(("way", "kind"), crossed(list(WAYS), KINDS))
async def test_a_result(site: Site, way: str, kind: str) -> None:
    await assert_untouched(site, WAYS[way], "return", kind)


@pytest.mark.parametrize("way", WAYS)
async def test_the_details_of_an_error(site: Site, way: str) -> None:
    await assert_untouched(site, WAYS[way], "raise", "nested")


@pytest.mark.parametrize("how", ["child: return", "child: raise"])
async def test_the_result_of_a_child(site: Site, how: str) -> None:
    await assert_untouched(site, Way(reports=True), how, "generator")


@pytest.mark.parametrize("how", ["return", "raise"])
@pytest.mark.parametrize("workflow", ["Once", "OnceByHand"])
async def test_a_result_that_is_too_large(site: Site, workflow: str, how: str) -> None:
    await assert_untouched(site, Way(workflow=workflow), how, "large")


@pytest.mark.parametrize(("how", "kind"), [("raise", "generator"), ("return", "broken")])
@pytest.mark.parametrize("workflow", ["Once", "OnceByHand"])
async def test_an_error_that_may_be_retried(site: Site, workflow: str, how: str, kind: str) -> None:
    policy = RetryPolicy(maximum_attempts=2, initial_interval=timedelta(milliseconds=1))
    way = Way(reports=True, workflow=workflow, start={"retry_policy": policy})
    await site.database.insert(site.workflow_id)
    await ended(site, way, how, kind)
    (started, *_) = await site.events()
    first = started.workflow_execution_started_event_attributes.first_execution_run_id

    retried, last = await end_of(site, first), await end_of(site)
    assert isinstance(retried, Failure)
    assert retried == last
    if kind == "generator":
        assert retried.application_failure_info.details.payloads[0].data == b"[1,2,3]"


@pytest.mark.parametrize("workflow", ["Once", "OnceByHand"])
async def test_the_last_result_of_a_cron_workflow(site: Site, workflow: str) -> None:
    way = Way(workflow=workflow)
    async with site.worker(workflows=WORKFLOWS, activities=[]):
        handle = await site.client.start_workflow(
            way.workflow,
            args=["return", "generator"],
            id=site.workflow_id,
            task_queue=site.task_queue,
            cron_schedule="@every 1s",
        )
        await eventually(lambda: has_ticked(site, handle.first_execution_run_id))

    result = await end_of(site, handle.first_execution_run_id)
    assert isinstance(result, Payload)
    assert result.data == b"[1,2,3]"


async def has_ticked(site: Site, run_id: str | None) -> bool:
    last = (await site.events(run_id))[-1]
    return last.HasField("workflow_execution_completed_event_attributes")


@pytest.mark.parametrize("how", ["return", "raise"])
@pytest.mark.parametrize(
    ("converter", "way", "seen"),
    [
        ("salted", "reported", False),
        ("salted", "skipped", True),
        ("salted", "large", False),
        ("plain", "reported", True),
        ("plain", "large", True),
        ("encoded", "reported", True),
        ("encoded", "skipped", False),
        ("encoded", "large", False),
    ],
)
async def test_with_other_converters(
    site: Site, converter: str, way: str, how: str, seen: bool
) -> None:
    config = site.client.config()
    config["data_converter"] = CONVERTERS[converter]
    config["interceptors"] = [Looking()] if seen else []
    site.client = Client(**config)
    kind = "large" if way == "large" else "generator"

    end = await ended(site, WAYS.get(way, Way()), how, kind)

    if isinstance(end, Failure):
        (end,) = end.application_failure_info.details.payloads
    assert isinstance(end, Payload)
    if kind == "large":
        assert end.ByteSize() > 1_000_000
    else:
        assert end.data == b"[1,2,3]"


@pytest.mark.parametrize("how", ["return", "raise"])
@pytest.mark.parametrize("seen", [False, True])
@pytest.mark.parametrize("workflow", ["Once", "OnceByHand"])
async def test_a_generator_that_raises(site: Site, workflow: str, how: str, seen: bool) -> None:
    config = site.client.config()
    config["interceptors"] = [Looking()] if seen else []
    site.client = Client(**config)
    way = Way(reports=how == "return", workflow=workflow)

    await assert_untouched(site, way, how, "broken")


class Counting(DefaultPayloadConverter):
    """Counts how often it serialises an iterator."""

    count = 0

    def to_payloads(self, values: Sequence[Any]) -> list[Payload]:
        Counting.count += any(hasattr(each, "__next__") for each in values)
        return super().to_payloads(values)


@pytest.mark.parametrize("how", ["return", "raise"])
@pytest.mark.parametrize("way", ["reported", "skipped", "large", "under a patch callback"])
async def test_a_result_is_serialised_once_without_other_interceptors(
    site: Site, monkeypatch: pytest.MonkeyPatch, way: str, how: str
) -> None:
    monkeypatch.setattr(Counting, "count", 0)
    config = site.client.config()
    config["data_converter"] = replace(DataConverter.default, payload_converter_class=Counting)
    config["interceptors"] = []  # the test server's client has one
    site.client = Client(**config)

    await ended(site, WAYS.get(way, Way()), how, "large" if way == "large" else "generator")

    assert Counting.count == 1
