"""Rows whose workflow is only in the history archive, which a dev server cannot have."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest
from temporalio.api.common.v1 import Payload
from temporalio.api.enums.v1 import WorkflowExecutionStatus as Status
from temporalio.api.history.v1 import HistoryEvent

from reconciler.core.errors import TemporalUnusable
from reconciler.core.model import Closed, CloseStatus, Missing, Observation, Open, RunRow, Unknown
from reconciler.temporal.client.error_codes import RowError
from reconciler.temporal.client.execution_info import to_datetime
from reconciler.temporal.failures.failure_decoder import FailureDecoder
from reconciler.temporal.observe import probe as probe_module
from reconciler.temporal.observe.probe import TemporalProbe
from tests.support.factories import row
from tests.support.temporal.archive_stub import (
    CANCELED,
    CLOSED_AT,
    TASK_SCHEDULED,
    TIMED_OUT,
    StubRpc,
    cancel_requested,
    completed,
    continued,
    failed,
    live,
    started,
    terminated,
)
from tests.support.temporal.failures import refused

FAILED = Status.WORKFLOW_EXECUTION_STATUS_FAILED
RUNNING = Status.WORKFLOW_EXECUTION_STATUS_RUNNING


def probe(rpc: Any, **options: Any) -> TemporalProbe:
    return TemporalProbe(rpc, **options)


async def observe(rpc: StubRpc, of: RunRow | None = None) -> Observation:
    return await probe(rpc, ask_archive=True).observe(of or row(1))


def closed(status: CloseStatus, failure: str | None, run_id: str = "run-1") -> Closed:
    return Closed(status, to_datetime(CLOSED_AT), run_id, failure, workflow_type="Order")


@pytest.mark.parametrize(
    ("history", "expected"),
    [
        pytest.param([started(), completed()], closed(CloseStatus.COMPLETED, None), id="completed"),
        pytest.param([started(), failed()], closed(CloseStatus.FAILED, "boom"), id="failed"),
        pytest.param(
            [started(), TIMED_OUT],
            closed(CloseStatus.TIMED_OUT, "workflow run timed out"),
            id="timed out",
        ),
        pytest.param(
            [started(), terminated("alice@ops")],
            closed(CloseStatus.TERMINATED, "terminated by alice@ops: ticket 42"),
            id="terminated",
        ),
        pytest.param(
            [started(), cancel_requested("by customer"), TASK_SCHEDULED, CANCELED],
            closed(CloseStatus.CANCELED, "canceled: by customer"),
            id="canceled, with the cause from an earlier event",
        ),
        pytest.param(
            [started(), CANCELED], closed(CloseStatus.CANCELED, "canceled"), id="canceled"
        ),
    ],
)
async def test_an_archived_run_is_closed_according_to_its_events(
    history: list[HistoryEvent], expected: Closed
) -> None:
    assert await observe(StubRpc({"run-1": history})) == expected


@pytest.mark.parametrize(
    "last",
    [continued("run-2"), failed("run-2"), completed("run-2")],
    ids=["continue-as-new", "retry", "cron"],
)
async def test_an_archived_chain_is_walked_to_its_last_run(last: HistoryEvent) -> None:
    first = [started("First"), cancel_requested("of the first run"), last]
    rpc = StubRpc({"run-1": first, "run-2": [started(), CANCELED]})

    assert await observe(rpc) == closed(CloseStatus.CANCELED, "canceled", run_id="run-2")
    assert rpc.asked == ["run-1", "run-2"]


async def test_a_chain_that_leaves_the_archive_is_walked_in_temporal() -> None:
    archived = {"run-1": [started(), continued("run-2")]}
    rpc = StubRpc(archived, live={"run-2": live("run-2", FAILED)})

    assert await observe(rpc) == Closed(
        CloseStatus.FAILED, to_datetime(CLOSED_AT), "run-2", failure="boom"
    )
    assert rpc.asked == ["run-1"]


async def test_a_chain_whose_last_run_is_open_is_open() -> None:
    archived = {"run-1": [started(), continued("run-2")]}
    rpc = StubRpc(archived, live={"run-2": live("run-2", RUNNING)})

    assert await observe(rpc) == Open("RUNNING")


async def test_a_later_run_may_be_archived_before_an_earlier_one() -> None:
    first = live("run-1", Status.WORKFLOW_EXECUTION_STATUS_CONTINUED_AS_NEW)
    rpc = StubRpc({"run-2": [started(), completed()]}, live={"run-1": first})

    assert await observe(rpc) == closed(CloseStatus.COMPLETED, None, run_id="run-2")


async def test_a_run_that_is_not_archived_is_missing() -> None:
    rpc = StubRpc({})

    assert await observe(rpc) == Missing()
    assert rpc.asked == ["run-1"]


async def test_a_chain_whose_next_run_is_unknown_is_missing() -> None:
    rpc = StubRpc({"run-1": [started(), continued("run-2")]})

    assert await observe(rpc) == Missing()


async def test_the_archive_is_read_if_the_workflow_id_is_in_use() -> None:
    another = live("run-9", RUNNING, first="run-9")
    rpc = StubRpc({"run-1": [started(), completed()]}, live={"": another})

    ended = closed(CloseStatus.COMPLETED, None)
    assert await observe(rpc) == replace(ended, id_in_use=True)


async def test_a_run_that_is_not_archived_is_missing_with_its_id_in_use() -> None:
    another = live("run-9", RUNNING, first="run-9")
    rpc = StubRpc({}, live={"": another, "run-9": another})

    assert await observe(rpc) == Missing("run not found, id in use", id_in_use=True)
    assert rpc.asked == ["run-1"]


async def test_a_probe_reads_the_archive_only_on_request() -> None:
    rpc = StubRpc({"run-1": [started(), completed()]})

    assert await probe(rpc).observe(row(1)) == Missing()
    assert rpc.asked == []


async def test_a_namespace_without_an_archive_is_not_asked_for_it() -> None:
    rpc = StubRpc({"run-1": [started(), completed()]})
    rpc.archives = False

    assert await observe(rpc) == Missing()
    assert rpc.asked == []


async def test_the_last_description_of_the_namespace_counts() -> None:
    rpc = StubRpc({"run-1": [started(), completed()]})
    asking = probe(rpc, ask_archive=True)
    await asking.retention()
    rpc.archives = False
    assert isinstance(await asking.observe(row(1)), Closed)

    await asking.retention()

    assert await asking.observe(row(1)) == Missing()


@pytest.mark.parametrize("run_id", [None, ""])
async def test_the_archive_is_not_read_without_a_run_id(run_id: str | None) -> None:
    rpc = StubRpc({"": [started(), completed()]})

    assert await observe(rpc, row(1, run_id=run_id)) == Missing()
    assert rpc.asked == []


@pytest.mark.parametrize(
    ("history", "cause"),
    [
        pytest.param([], "has no events", id="empty"),
        pytest.param(
            [started(), TASK_SCHEDULED], "does not end with a close event", id="another last event"
        ),
        pytest.param(
            [started(), HistoryEvent(event_time=CLOSED_AT)],
            "does not end with a close event",
            id="an event of the future",
        ),
        pytest.param(
            [started(), continued("")], "does not end with a close event", id="continued to nowhere"
        ),
        pytest.param(
            [started(), completed(), TASK_SCHEDULED],
            "does not end with a close event",
            id="something after the close event",
        ),
        pytest.param([started(), completed(close_time=None)], "gives no close time", id="no time"),
        pytest.param(
            [started(), terminated("history-resetter")],
            "the run was reset, and its archive does not say",
            id="reset while it was open",
        ),
    ],
)
async def test_an_archived_history_that_makes_no_sense_is_unknown(
    history: list[HistoryEvent], cause: str
) -> None:
    observed = await observe(StubRpc({"run-1": history}))

    assert isinstance(observed, Unknown)
    assert cause in observed.cause


async def test_an_archive_that_fails_makes_the_row_unknown() -> None:
    rpc = StubRpc({"run-1": RowError("internal: no such bucket")})

    assert await observe(rpc) == Unknown("internal: no such bucket")


async def test_an_unreachable_server_ends_the_pass() -> None:
    with pytest.raises(TemporalUnusable):
        await observe(StubRpc({"run-1": TemporalUnusable("Temporal is unreachable")}))


async def test_the_walk_of_an_archived_chain_is_bounded() -> None:
    rpc = StubRpc({"run-1": [started(), continued("run-1")]})

    observed = await observe(rpc)

    assert observed == Unknown("the chain is longer than 50 runs")
    assert len(rpc.asked) == probe_module.MAX_HOPS


async def test_an_archived_failure_is_decoded() -> None:
    class Codec:
        async def decode(self, payloads: Sequence[Payload], *about: str) -> list[str]:
            assert about == ("ns", "wf-1")
            return ["no money"] * len(payloads)

    rpc = StubRpc({"run-1": [started(), failed(failure=refused())]})
    codec: Any = Codec()

    observed = await probe(rpc, ask_archive=True, decoder=FailureDecoder(codec, 5)).observe(row(1))

    assert observed == closed(CloseStatus.FAILED, "Refused: no money")
