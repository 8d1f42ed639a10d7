"""What is asked besides the descriptions, how often, and what follows if it is not answered."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, cast

import pytest
import regex
from google.protobuf.json_format import MessageToDict, ParseDict
from structlog.testing import capture_logs
from temporalio.api.errordetails.v1 import ResourceExhaustedFailure
from temporalio.api.workflowservice.v1 import (
    DescribeTaskQueueRequest,
    DescribeTaskQueueResponse,
    DescribeWorkflowExecutionRequest,
    DescribeWorkflowExecutionResponse,
    GetWorkflowExecutionHistoryReverseRequest,
    GetWorkflowExecutionHistoryReverseResponse,
)
from temporalio.service import RPCError, RPCStatusCode

from reconciler.core.errors import TemporalUnusable
from reconciler.core.model import RowId
from reconciler.core.redaction import Redaction
from reconciler.core.stuck.allowance import CHILDREN, HISTORIES, SAVED
from reconciler.core.stuck.condition import Diagnosis, Outdated, Reason, StuckRow
from reconciler.core.stuck.record import as_stuck_row
from reconciler.host.steady_clock import steady
from reconciler.temporal.client import calls as calls_module
from reconciler.temporal.failures.codec import Undecodable
from reconciler.temporal.failures.failure_decoder import FailureDecoder
from reconciler.temporal.failures.redactor import Redactor
from reconciler.temporal.stuck import diagnosis as diagnosis_module
from reconciler.temporal.stuck.diagnosis import TemporalDiagnosis
from reconciler.temporal.stuck.evidence import REPORTED_PROBLEMS, Evidence
from tests.support.factories import NOW, row
from tests.support.temporal.failures import refused
from tests.support.temporal.stubs import Namespaces, error, rpc

NOT_FOUND = error(RPCStatusCode.NOT_FOUND, "workflow not found")
DENIED = error(RPCStatusCode.PERMISSION_DENIED, "no")
BROKEN = error(RPCStatusCode.INTERNAL, "broken")
THROTTLED = error(RPCStatusCode.RESOURCE_EXHAUSTED, detail=ResourceExhaustedFailure())


def at(moment: datetime) -> str:
    return moment.strftime("%Y-%m-%dT%H:%M:%SZ")


RESET = "WORKFLOW_TASK_FAILED_CAUSE_RESET_WORKFLOW"
LONG_AGO = at(NOW - timedelta(hours=3))
WAITS_FOR_WORKER: dict[str, Any] = {
    "pending_workflow_task": {"original_scheduled_time": LONG_AGO, "attempt": 1}
}
FAILS: dict[str, Any] = {
    "pending_workflow_task": {"original_scheduled_time": LONG_AGO, "attempt": 9}
}
RETRIES: dict[str, Any] = {
    "pending_activities": [
        {
            "activity_type": {"name": "charge"},
            "state": 1,
            "attempt": 4,
            "last_failure": {"message": "no money"},
        }
    ]
}
DEPLOYED = {"deployment_name": "d", "build_id": "1"}
FAILED_TASK = {
    "history": {
        "events": [
            {"workflow_execution_signaled_event_attributes": {}},
            {
                "event_id": 7,
                "event_time": at(NOW - timedelta(minutes=50)),
                "workflow_task_failed_event_attributes": {
                    "scheduled_event_id": 5,
                    "failure": {"message": "bug", "application_failure_info": {"type": "KeyError"}},
                },
            },
            {"event_id": 5, "event_time": at(NOW - timedelta(hours=1))},
            {"workflow_task_completed_event_attributes": {}},
        ]
    }
}


def waits_for(*children: str) -> dict[str, Any]:
    return {
        "pending_children": [
            {"workflow_id": child, "workflow_type_name": "Child"} for child in children
        ]
    }


def description(
    workflow_id: str, queue: str = "q", status: int = 1, **given: Any
) -> DescribeWorkflowExecutionResponse:
    info = {
        "execution": {"workflow_id": workflow_id, "run_id": f"run of {workflow_id}"},
        "type": {"name": "Order"},
        "task_queue": queue,
        "status": status,
        "start_time": LONG_AGO,
    }
    return ParseDict(
        {"workflow_execution_info": info, **given}, DescribeWorkflowExecutionResponse()
    )


class Service(Namespaces):
    """Answers by the name of a queue, the id of a child or of a workflow; `asked` counts calls."""

    def __init__(self) -> None:
        self.queues: dict[str, dict[str, Any] | RPCError] = {}
        self.children: dict[str, DescribeWorkflowExecutionResponse | RPCError] = {}
        self.histories: dict[str, dict[str, Any] | RPCError] = {}
        self.asked: Counter[tuple[str, str]] = Counter()

    async def describe_task_queue(
        self, request: DescribeTaskQueueRequest, **_: Any
    ) -> DescribeTaskQueueResponse:
        self.asked["queue", request.task_queue.name] += 1
        answer = self.queues.get(request.task_queue.name, {})
        if isinstance(answer, RPCError):
            raise answer
        return ParseDict(answer, DescribeTaskQueueResponse())

    async def describe_workflow_execution(
        self, request: DescribeWorkflowExecutionRequest, **_: Any
    ) -> DescribeWorkflowExecutionResponse:
        assert not request.execution.run_id, "its parent may name an earlier run"
        child = request.execution.workflow_id
        self.asked["child", child] += 1
        answer = self.children.get(child) or description(child)
        if isinstance(answer, RPCError):
            raise answer
        return answer

    async def get_workflow_execution_history_reverse(
        self, request: GetWorkflowExecutionHistoryReverseRequest, **_: Any
    ) -> GetWorkflowExecutionHistoryReverseResponse:
        workflow_id = request.execution.workflow_id
        assert request.execution.run_id == f"run of {workflow_id}"
        self.asked["history", workflow_id] += 1
        answer = self.histories.get(workflow_id, FAILED_TASK)
        if isinstance(answer, RPCError):
            raise answer
        return ParseDict(answer, GetWorkflowExecutionHistoryReverseResponse())

    def calls(self, kind: str) -> int:
        return sum(count for (of, _), count in self.asked.items() if of == kind)


class Asking:
    """A diagnosis over a stub of the service."""

    def __init__(self, redacted: str = "no match", decoder: FailureDecoder | None = None) -> None:
        self.service = Service()
        self.rpc = rpc(self.service)
        redactor = Redactor(Redaction((regex.compile(redacted),)), limit=500)
        self.diagnosis = TemporalDiagnosis(self.rpc, redactor, decoder)
        self.diagnosis._turn = -1
        self.diagnosis.start_pass()

    async def page(
        self,
        *described: DescribeWorkflowExecutionResponse,
        known: Mapping[RowId, StuckRow] | None = None,
        namespace: str = "ns",
        now: datetime = NOW,
    ) -> Sequence[Diagnosis | Outdated | None]:
        """Diagnose rows with these descriptions."""
        rows = [row(number) for number, _ in enumerate(described)]
        evidence = [Evidence(namespace, each) for each in described]
        return await self.diagnosis.diagnose(
            list(zip(rows, evidence, strict=True)), now, known or {}
        )

    async def one(
        self, workflow_id: str = "wf-1", known: StuckRow | None = None, **given: Any
    ) -> Diagnosis | Outdated | None:
        (found,) = await self.page(
            description(workflow_id, **given), known={} if known is None else {0: known}
        )
        return found


def reason(of: Diagnosis | Outdated | None) -> Reason | None:
    return of.condition.reason if isinstance(of, Diagnosis) else None


@pytest.fixture(autouse=True)
def no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(calls_module, "THROTTLED_PAUSES", (1e-9,) * 2)


async def test_most_rows_need_no_call() -> None:
    asking = Asking()

    found = await asking.page(
        description("wf-1"),
        description("wf-2", **RETRIES),
        description("wf-3", status=8, **waits_for("child")),
    )

    assert [reason(each) for each in found] == [
        Reason.WAITING,
        Reason.ACTIVITY_RETRYING,
        Reason.PAUSED,
    ]
    assert isinstance(found[1], Diagnosis)
    assert (found[1].run_id, found[1].workflow_type) == ("run of wf-2", "Order")
    assert found[1].condition.text.startswith("charge: no money (attempt 4")
    assert not asking.service.asked


async def test_a_queue_is_described_once_in_a_pass_for_all_rows() -> None:
    asking = Asking()
    asking.service.queues["busy"] = {"pollers": [{"last_access_time": at(NOW)}]}
    page = [description(f"wf-{each}", "q", **WAITS_FOR_WORKER) for each in range(5)]

    found = [*await asking.page(*page), *await asking.page(*page)]
    busy = await asking.one(queue="busy", **WAITS_FOR_WORKER)
    calls_before = dict(asking.service.asked)
    asking.diagnosis.start_pass()
    await asking.page(*page)

    assert {reason(each) for each in found} == {Reason.NO_WORKER}
    assert reason(busy) is Reason.WAITING
    assert calls_before == {("queue", "q"): 1, ("queue", "busy"): 1}
    assert asking.rpc.counts == {"queue": 3}


@pytest.mark.parametrize(
    ("poller", "expected"),
    [
        ({"deployment_name": "d", "build_id": "1", "worker_versioning_mode": 2}, Reason.WAITING),
        ({"deployment_name": "d", "build_id": "2", "worker_versioning_mode": 2}, Reason.NO_WORKER),
        ({"deployment_name": "d", "build_id": "1", "worker_versioning_mode": 1}, Reason.NO_WORKER),
        ({}, Reason.NO_WORKER),
    ],
)
async def test_only_workers_of_its_version_serve_a_pinned_workflow(
    poller: dict[str, Any], expected: Reason
) -> None:
    asking = Asking()
    polls = {"last_access_time": at(NOW), "deployment_options": poller}
    asking.service.queues["q"] = {"pollers": [polls]}
    pinned = description("wf-1", **WAITS_FOR_WORKER)
    info = pinned.workflow_execution_info.versioning_info
    ParseDict({"behavior": 1, "deployment_version": DEPLOYED}, info)

    (found,) = await asking.page(pinned)

    assert reason(found) is expected


async def test_more_queues_than_may_be_asked_about_are_left_for_a_later_pass() -> None:
    asking = Asking()
    page = [description(f"wf-{each}", f"q-{each}", **WAITS_FOR_WORKER) for each in range(2 * SAVED)]

    first = await asking.page(*page)
    undecided = [each is None for each in first]
    while any(each is None for each in await asking.page(*page)):
        pass

    assert sum(undecided) == SAVED
    assert asking.service.calls("queue") == 2 * SAVED


async def test_a_queue_that_cannot_be_described_leaves_its_rows_and_no_others() -> None:
    asking = Asking()
    asking.service.queues["sick"] = BROKEN

    found = await asking.page(
        description("wf-1", "sick", **WAITS_FOR_WORKER),
        description("wf-2", "q", **WAITS_FOR_WORKER),
        description("wf-3", "sick", **WAITS_FOR_WORKER),
    )

    assert [reason(each) for each in found] == [None, Reason.NO_WORKER, None]
    assert asking.service.asked["queue", "sick"] == 1


async def test_after_a_few_failures_a_pass_asks_nothing_more() -> None:
    """Each failure may take seconds, and the pass has rows to judge."""
    asking = Asking()
    page = [description(f"wf-{each}", f"q-{each}", **WAITS_FOR_WORKER) for each in range(9)]
    asking.service.queues = {f"q-{each}": BROKEN for each in range(9)}

    await asking.page(*page)
    in_one_pass = asking.service.calls("queue")
    asking.diagnosis.start_pass()
    await asking.page(*page)

    assert in_one_pass == 3
    assert asking.service.calls("queue") == 6


async def test_without_the_right_to_describe_queues_only_missing_workers_are_not_found() -> None:
    asking = Asking()
    asking.service.queues = dict.fromkeys(["q", "q-2"], DENIED)
    both = WAITS_FOR_WORKER | RETRIES

    with capture_logs() as lines:
        found = await asking.page(
            description("wf-1", "q", **WAITS_FOR_WORKER),
            description("wf-2", "q-2", **both),
            description("wf-3", **waits_for("child")),
            description("wf-4", **FAILS),
        )
        asking.diagnosis.start_pass()
        again = await asking.page(description("wf-1", "q", **WAITS_FOR_WORKER))

    assert [reason(each) for each in found] == [
        None,
        Reason.ACTIVITY_RETRYING,
        Reason.WAITING,
        Reason.WORKFLOW_TASK_FAILING,
    ]
    assert again == [None]
    assert asking.service.calls("queue") == 2, "once in each pass"
    (line,) = lines
    assert line["event"] == "diagnosis_incomplete"
    assert "DescribeTaskQueue" in line["hint"]


async def test_throttling_ends_the_pass_as_elsewhere() -> None:
    asking = Asking()
    asking.service.queues["q"] = THROTTLED

    with pytest.raises(TemporalUnusable, match="RECONCILER_VISIBILITY_RPS or RECONCILER_MAX_RPS"):
        await asking.one(**WAITS_FOR_WORKER)
    calls = asking.rpc._calls
    assert (calls.limiter.rate, calls.list_limiter.rate) == (50, 50), "either may be exhausted"


async def test_a_dead_server_ends_the_pass_as_elsewhere() -> None:
    asking = Asking()
    asking.service.silence = error(RPCStatusCode.UNAVAILABLE, "tcp connect error")
    asking.service.children["child"] = asking.service.silence

    with pytest.raises(TemporalUnusable, match="tcp connect error"):
        await asking.one(**waits_for("child"))


async def test_rows_of_a_namespace_that_cannot_be_used_any_more_are_left() -> None:
    asking = Asking()
    asking.service.children["child"] = DENIED
    others = [description("wf-1", **waits_for("child")), description("wf-2", **RETRIES)]

    found = await asking.page(*others, namespace="theirs")

    assert [reason(each) for each in found] == [None, Reason.ACTIVITY_RETRYING]


@pytest.mark.parametrize(
    ("child", "expected"),
    [
        pytest.param(description("child"), Reason.WAITING, id="healthy"),
        pytest.param(description("child", **RETRIES), Reason.WAITING_FOR_CHILD, id="stuck"),
        pytest.param(
            description("child", **WAITS_FOR_WORKER), Reason.WAITING_FOR_CHILD, id="no worker"
        ),
        pytest.param(description("child", **waits_for("x")), Reason.WAITING, id="one hop"),
        pytest.param(description("child", status=2, **RETRIES), Reason.WAITING, id="ended"),
        pytest.param(NOT_FOUND, Reason.WAITING, id="not started yet"),
        pytest.param(BROKEN, None, id="no answer"),
    ],
)
async def test_a_child_is_followed(
    child: DescribeWorkflowExecutionResponse | RPCError, expected: Reason | None
) -> None:
    asking = Asking()
    asking.service.children["child"] = child

    found = await asking.one(**waits_for("child"))

    assert reason(found) is expected
    if expected is Reason.WAITING_FOR_CHILD:
        assert isinstance(found, Diagnosis)
        assert "[child]" in found.condition.text


async def test_children_are_followed_until_one_is_stuck_and_rows_share_the_answers() -> None:
    asking = Asking()
    asking.service.children["b"] = description("b", **RETRIES)
    parent = waits_for("c", "b", "a")

    found = await asking.page(*(description(f"wf-{each}", **parent) for each in range(30)))

    assert {reason(each) for each in found} == {Reason.WAITING_FOR_CHILD}
    assert asking.service.asked == {("child", "a"): 1, ("child", "b"): 1}


async def test_no_more_children_are_followed_in_a_pass_than_allowed_and_each_has_its_turn() -> None:
    asking = Asking()
    parents = [description(f"wf-{each}", **waits_for(f"child-{each}")) for each in range(50)]

    first = await asking.page(*parents)
    for _ in range(3):
        asking.diagnosis.start_pass()
        for _ in range(9):  # pages of other rows earn what the children cost
            await asking.page(*(description("wf-0") for _ in range(100)))
        await asking.page(*parents)

    assert sum(each is not None for each in first) == CHILDREN
    assert len(asking.service.asked) == len(parents)


async def test_of_many_children_the_stuck_one_is_found_and_then_followed() -> None:
    asking = Asking()
    child = description("sick", **RETRIES)
    child.workflow_execution_info.parent_execution.workflow_id = "wf-1"
    asking.service.children["sick"] = child
    shown = [f"child-{each}" for each in range(24)]

    in_first_pass = sick = await asking.one(**waits_for(*shown, "sick"))
    for _ in range(20):  # one call in each pass
        asking.diagnosis.start_pass()
        # Temporal lists children in another order each time.
        sick = await asking.one(**waits_for("sick", *shown))
        if sick is not None:
            break
    assert isinstance(sick, Diagnosis)
    recorded = as_stuck_row(row(0), sick, None, NOW)
    asking.diagnosis.start_pass()
    asking.service.asked.clear()
    again = await asking.one(known=recorded, **waits_for(*shown, "sick"))
    asked_again = dict(asking.service.asked)
    asking.diagnosis.start_pass()
    child.workflow_execution_info.parent_execution.workflow_id = "another parent"
    ended = await asking.one(known=recorded, **waits_for(*shown, "sick"))
    asking.diagnosis.start_pass()
    del asking.service.children["sick"]
    recovered = await asking.one(known=recorded, **waits_for(*shown, "sick"))

    assert in_first_pass is None
    assert again == sick
    assert asked_again == {("child", "sick"): 1}
    assert (ended, recovered) == (Outdated(), Outdated())


async def test_the_failure_of_a_workflow_task_is_read_from_the_history() -> None:
    asking = Asking()

    found = await asking.one(**FAILS)

    assert isinstance(found, Diagnosis)
    assert found.condition.text.startswith("Order: KeyError: bug (attempt 9")
    assert found.condition.since == NOW - timedelta(hours=1)
    assert asking.service.asked == {("history", "wf-1"): 1}


async def test_a_history_is_read_once() -> None:
    asking = Asking()
    page = [description(f"wf-{each}", **FAILS) for each in range(3)]

    first = await asking.page(*page)
    asking.diagnosis.start_pass()
    second = await asking.page(*page)

    assert first == second
    assert asking.service.calls("history") == 3


async def test_a_history_is_not_read_if_another_process_has_recorded_what_it_says() -> None:
    earlier, later = Asking(), Asking()
    read = await earlier.one(**FAILS)
    assert isinstance(read, Diagnosis)
    recorded = as_stuck_row(row(0), read, None, NOW)
    again: dict[str, Any] = {
        "pending_workflow_task": {**FAILS["pending_workflow_task"], "attempt": 10}
    }

    found = await later.one(**again, known=recorded)

    assert isinstance(found, Diagnosis)
    assert found.condition.text == recorded.text.replace("attempt 9", "attempt 10")
    assert found.condition.cause == recorded.cause
    assert not later.service.asked


async def test_a_history_is_read_if_what_is_recorded_names_no_cause() -> None:
    earlier, later = Asking(), Asking()
    earlier.service.histories["wf-1"] = BROKEN
    unread = await earlier.one(**FAILS)
    assert reason(unread) is Reason.WORKFLOW_TASK_FAILING
    assert isinstance(unread, Diagnosis)
    recorded = as_stuck_row(row(0), unread, None, NOW)

    reported = description("wf-1", **FAILS)
    attributes = reported.workflow_execution_info.search_attributes.indexed_fields
    attributes[REPORTED_PROBLEMS].data = b'["category=WorkflowTaskFailed"]'
    (found,) = await later.page(reported, known={0: recorded})

    assert isinstance(found, Diagnosis)
    assert "KeyError: bug" in found.condition.text


async def test_a_history_is_read_again_if_its_failure_could_not_be_decoded() -> None:
    answers: list[str | Undecodable] = [Undecodable("no key"), "bug"]

    class Codec:
        async def decode(self, *_: object) -> Sequence[str | Undecodable]:
            return [answers.pop(0)]

    event = {"workflow_task_failed_event_attributes": {"failure": MessageToDict(refused())}}
    first, later = (Asking(decoder=FailureDecoder(cast("Any", Codec()), 5)) for _ in range(2))
    for each in (first, later):
        each.service.histories["wf-1"] = {"history": {"events": [event]}}
    unreadable = await first.one(**FAILS)
    assert isinstance(unreadable, Diagnosis)
    recorded = as_stuck_row(row(0), unreadable, None, NOW)
    first.diagnosis.start_pass()

    readable = await first.one(**FAILS, known=recorded)
    answers.append("bug")
    by_another_process = await later.one(**FAILS, known=recorded)

    assert "Refused: Encoded failure" in unreadable.condition.text
    assert isinstance(readable, Diagnosis)
    assert "Refused: bug" in readable.condition.text
    assert by_another_process == readable


@pytest.mark.parametrize(
    "history",
    [
        NOT_FOUND,
        {},
        {"history": {"events": [{"workflow_task_completed_event_attributes": {}}]}},
        {
            "history": {
                "events": [
                    {"workflow_task_failed_event_attributes": {"cause": RESET}},  # a reset
                    {"workflow_task_timed_out_event_attributes": {"timeout_type": 2}},
                ]
            }
        },
    ],
)
async def test_without_a_failure_in_the_history_the_condition_names_no_cause(
    history: dict[str, Any] | RPCError,
) -> None:
    asking = Asking()
    asking.service.histories["wf-1"] = history

    found = await asking.one(**FAILS)

    assert isinstance(found, Diagnosis)
    assert found.condition.text.startswith("Order: its workflow task fails (attempt 9")


@pytest.mark.parametrize(
    ("event", "text"),
    [
        ({"workflow_task_timed_out_event_attributes": {"timeout_type": 1}}, "did not answer"),
        ({"workflow_task_failed_event_attributes": {"cause": 24}}, "non deterministic error"),
        ({"workflow_task_failed_event_attributes": {"cause": 999}}, "cause 999"),
    ],
)
async def test_a_failure_without_a_message_has_words(event: dict[str, Any], text: str) -> None:
    asking = Asking()
    asking.service.histories["wf-1"] = {"history": {"events": [event]}}

    found = await asking.one(**FAILS)

    assert isinstance(found, Diagnosis)
    assert text in found.condition.text


async def test_no_more_histories_are_read_in_a_pass_than_allowed() -> None:
    asking = Asking()

    found = await asking.page(*(description(f"wf-{each}", **FAILS) for each in range(50)))

    assert {reason(each) for each in found} == {Reason.WORKFLOW_TASK_FAILING}
    assert asking.service.calls("history") == HISTORIES


async def test_a_task_that_succeeded_and_fails_again_has_another_cause() -> None:
    asking = Asking()
    await asking.one(**FAILS)
    await asking.one()

    await asking.one(**FAILS)
    asking.diagnosis.start_pass()
    await asking.one(**FAILS)

    assert asking.service.calls("history") == 2


async def test_names_and_identities_in_a_text_are_redacted_too() -> None:
    asking = Asking(redacted="charge")

    found = await asking.one(**RETRIES)

    assert isinstance(found, Diagnosis)
    assert found.condition.text.startswith("[redacted]: no money")
    assert "charge" not in found.condition.cause


def digging(since: timedelta) -> dict[str, Any]:
    """An activity that should send heartbeats every ten seconds."""
    activity = {
        "activity_type": {"name": "dig"},
        "state": 2,
        "last_started_time": at(NOW - since),
        "activity_options": {"heartbeat_timeout": "10s"},
    }
    return {"pending_activities": [activity]}


async def test_in_a_long_pass_an_answer_holds_as_of_when_it_was_given() -> None:
    asking = Asking()
    asking.service.queues["q"] = {"pollers": [{"last_access_time": at(NOW)}]}
    asking.service.children["child"] = description("child", **digging(timedelta()))
    later = NOW + timedelta(minutes=5)
    page = [description("wf-1", **WAITS_FOR_WORKER), description("wf-2", **waits_for("child"))]

    found = [*await asking.page(*page), *await asking.page(*page, now=later)]

    assert {reason(each) for each in found} == {Reason.WAITING}
    assert asking.rpc.counts == {"queue": 1, "describe": 1}


async def test_a_row_is_judged_as_of_when_it_was_described(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    asking = Asking()
    page = [description("wf-1", **digging(timedelta(seconds=12)))]

    late = await asking.page(*page)
    monkeypatch.setattr(diagnosis_module, "steady", lambda: steady() + 5)
    early = await asking.page(*page)

    assert [reason(each) for each in (*late, *early)] == [Reason.ACTIVITY_SILENT, Reason.WAITING]


async def test_a_row_without_evidence_is_not_judged() -> None:
    asking = Asking()

    assert await asking.diagnosis.diagnose([(row(1), None)], NOW, {}) == [None]
    assert await asking.diagnosis.diagnose([], NOW, {}) == []
