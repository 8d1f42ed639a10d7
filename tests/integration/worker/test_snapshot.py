"""The payload that was checked is the one that is returned, with any converter."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Sequence
from dataclasses import replace
from typing import Any

import pytest
from temporalio.api.common.v1 import Payload
from temporalio.client import Client, WorkflowFailureError
from temporalio.client import Interceptor as ClientInterceptor
from temporalio.contrib.pydantic import pydantic_data_converter
from temporalio.converter import (
    DataConverter,
    DefaultFailureConverterWithEncodedAttributes,
    DefaultPayloadConverter,
    JSONPlainPayloadConverter,
    PayloadCodec,
    PayloadConverter,
)
from temporalio.exceptions import ApplicationError
from temporalio.worker import (
    ExecuteWorkflowInput,
    Interceptor,
    WorkflowInboundInterceptor,
    WorkflowInterceptorClassInput,
)

from reconciler.core.model import CloseStatus
from reconciler.temporal.client.execution_info import to_datetime
from reconciler.worker import ReconcilerPlugin
from tests.integration.worker.conftest import Site, locked_rows, waiting
from tests.support.crossed import crossed
from tests.support.polling import eventually
from tests.support.worker.results import Results

pytestmark = pytest.mark.usefixtures("unhurried")

KINDS = ["list", "dict", "dataclass", "nested", "bytes", "nothing", "text", "raw", "model"]


class Plain(PayloadConverter):
    """Plain JSON; rejects the SDK's own types and None."""

    def to_payloads(self, values: Sequence[Any]) -> list[Payload]:
        inner = JSONPlainPayloadConverter()
        if any(type(each) not in (str, int, list, dict) for each in values):
            raise TypeError("text, numbers, lists and dicts only")
        return [payload for each in values if (payload := inner.to_payload(each))]

    def from_payloads(
        self, payloads: Sequence[Payload], type_hints: list[type] | None = None
    ) -> list[Any]:
        return [JSONPlainPayloadConverter().from_payload(each) for each in payloads]


class OneByOne(PayloadCodec):
    """Accepts only one payload at a time."""

    async def encode(self, payloads: Sequence[Payload]) -> list[Payload]:
        (payload,) = payloads
        return [payload]

    async def decode(self, payloads: Sequence[Payload]) -> list[Payload]:
        (payload,) = payloads
        return [payload]


@contextlib.asynccontextmanager
async def held(
    site: Site, kind: str, converter: DataConverter | None = None, **options: Any
) -> AsyncIterator[Any]:
    """A workflow whose function has returned; it closes when the context ends."""
    config = site.client.config()
    config["data_converter"] = converter or DataConverter.default
    config["interceptors"] = options.pop("outer", [])
    site.client = Client(**config)
    row = await site.database.insert(site.workflow_id)
    handle = await site.client.start_workflow(
        "Results", kind, id=site.workflow_id, task_queue=site.task_queue
    )
    await site.database.execute(
        "UPDATE workflow_executions SET run_id = $1 WHERE id = $2",
        handle.first_execution_run_id,
        row,
    )
    worker = site.worker(workflows=[Results], activities=[], **options)
    async with locked_rows(site.database) as rows, worker:
        await eventually(lambda: waiting(site))
        yield handle
        await rows.release()
        await site.closed(handle)


async def returned(site: Site) -> Payload:
    completed = (await site.events())[-1].workflow_execution_completed_event_attributes
    (payload,) = completed.result.payloads
    return payload


@pytest.mark.parametrize(("kind", "cache"), crossed(KINDS, [1000, 0]))
async def test_a_result_of_any_kind(site: Site, kind: str, cache: int) -> None:
    converter = pydantic_data_converter if kind == "model" else DataConverter.default
    async with held(site, kind, converter, max_cached_workflows=cache) as handle:
        await handle.signal("change", "late")
        await handle.query("kind")

    expected = converter.payload_converter.to_payloads([Results().result(kind)])
    assert await returned(site) == expected[0]
    assert await site.outcome() == ("completed", None)


@pytest.mark.parametrize("change", ["late", "rubbish"])
async def test_with_a_converter_that_rejects_raw_values(site: Site, change: str) -> None:
    converter = replace(DataConverter.default, payload_converter_class=Plain)
    async with held(site, "dict", converter) as handle:
        await handle.signal("change", change)
        await handle.query("kind")

    assert await handle.result() == {"items": ["one"]}
    assert await site.outcome() == ("completed", None)


class Looking(ClientInterceptor, Interceptor):
    """Further out than the plugin: records what is returned."""

    seen: list[Any]

    def __init__(self) -> None:
        self.seen = []

    def workflow_interceptor_class(
        self, input: WorkflowInterceptorClassInput
    ) -> type[WorkflowInboundInterceptor]:
        seen = self.seen

        class Inbound(WorkflowInboundInterceptor):
            async def execute_workflow(self, input: ExecuteWorkflowInput) -> Any:
                result = await self.next.execute_workflow(input)
                seen.append(result)
                return result

        return Inbound


@pytest.mark.parametrize("kind", ["list", "dict", "nested", "nothing"])
async def test_an_interceptor_further_out_sees_the_object(site: Site, kind: str) -> None:
    looking = Looking()
    async with held(site, kind, outer=[looking]):
        pass

    assert looking.seen == [Results().result(kind)]


class Translating(ClientInterceptor, Interceptor):
    """Further out than the plugin: returns something else."""

    def workflow_interceptor_class(
        self, input: WorkflowInterceptorClassInput
    ) -> type[WorkflowInboundInterceptor]:
        class Inbound(WorkflowInboundInterceptor):
            async def execute_workflow(self, input: ExecuteWorkflowInput) -> Any:
                await self.next.execute_workflow(input)
                return "translated"

        return Inbound


async def test_a_result_that_an_interceptor_further_out_makes_serialisable(site: Site) -> None:
    config = site.client.config()
    config["interceptors"] = [Translating()]
    site.client = Client(**config)
    async with site.worker():
        handle = await site.start("return what cannot be serialised")
        closed = await site.closed(handle)

    assert closed.status is CloseStatus.COMPLETED
    assert await handle.result() == "translated"
    assert await site.outcome() == ("running", None)


@pytest.mark.parametrize(("change", "encoded"), crossed(["late", "rubbish"], [False, True]))
async def test_the_details_and_the_text_of_an_error(site: Site, change: str, encoded: bool) -> None:
    converter = DataConverter.default
    if encoded:
        failures = DefaultFailureConverterWithEncodedAttributes
        converter = replace(converter, failure_converter_class=failures)
    async with held(
        site, "error", converter, workflow_failure_exception_types=[ValueError]
    ) as handle:
        await handle.signal("change", change)
        await handle.query("kind")

    with pytest.raises(WorkflowFailureError) as raised:
        await handle.result()
    cause = raised.value.cause
    assert isinstance(cause, ApplicationError)
    assert (cause.type, cause.message) == ("Complaint", "1 items")
    status, _ = await site.outcome()
    assert status == "failed"


@pytest.mark.parametrize("kind", ["list", "nothing"])
async def test_a_codec_that_takes_one_payload_at_a_time(site: Site, kind: str) -> None:
    converter = replace(DataConverter.default, payload_codec=OneByOne())
    async with held(site, kind, converter):
        pass

    assert await site.outcome() == ("completed", None)


async def test_a_converter_only_has_to_accept_text(site: Site) -> None:
    converter = replace(DataConverter.default, payload_converter_class=Plain)
    async with held(site, "dict", converter):
        pass

    assert await site.outcome() == ("completed", None)


class Salted(DefaultPayloadConverter):
    """Never makes the same payload twice."""

    count = 0

    def to_payloads(self, values: Sequence[Any]) -> list[Payload]:
        payloads = super().to_payloads(values)
        for payload in payloads:
            Salted.count += 1
            payload.metadata["salt"] = str(Salted.count).encode()
        return payloads


async def test_an_unstable_result_is_left_to_the_reconciler(site: Site) -> None:
    config = site.client.config()
    config["data_converter"] = replace(DataConverter.default, payload_converter_class=Salted)
    site.client = Client(**config)
    async with site.worker(ReconcilerPlugin(site.database.engine), workflows=[Results]):
        handle = await site.client.start_workflow(
            "Results", "list", id=site.workflow_id, task_queue=site.task_queue
        )
        assert await handle.result() == ["one"]

    assert await site.reports() == 0


async def test_the_hold_is_not_part_of_the_close_time(site: Site) -> None:
    async with held(site, "list"):
        pass

    (reported,) = await site.report_events()
    scheduled = to_datetime(reported.event_time)
    assert abs(((await site.row())["completed_at"] - scheduled).total_seconds()) < 1
