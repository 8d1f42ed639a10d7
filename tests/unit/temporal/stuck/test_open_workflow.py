"""What a description says about why a run is open; nothing in it may be taken for granted."""

from __future__ import annotations

import base64
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import regex
from google.protobuf.json_format import ParseDict
from temporalio.api.workflowservice.v1 import DescribeWorkflowExecutionResponse

from reconciler.core.redaction import Redaction
from reconciler.core.stuck.workflow import (
    ActivityState,
    OpenWorkflow,
    Pause,
    PendingActivity,
    PendingChild,
    PendingOperation,
    PendingTask,
)
from reconciler.temporal.failures.redactor import Redactor
from reconciler.temporal.stuck.open_workflow import open_workflow
from reconciler.temporal.stuck.texts import Texts

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)
AT_NOON = "2026-01-01T12:00:00Z"
YEAR_ONE = "0001-01-01T00:00:00Z"
PAUSED = 8


async def read(**given: Any) -> OpenWorkflow:
    """The open workflow of a description, given as the JSON of its proto."""
    description = ParseDict(given, DescribeWorkflowExecutionResponse())
    redactor = Redactor(Redaction((regex.compile(r"\w+@\w+"),)), limit=100)
    return await open_workflow(description, Texts(redactor, None, "ns", "wf-1"))


async def activity(**given: Any) -> PendingActivity:
    """The only activity of a workflow."""
    (found,) = (await read(pending_activities=[given])).activities
    return found


def attribute(name: str, data: str) -> dict[str, Any]:
    return {"indexed_fields": {name: {"data": base64.b64encode(data.encode()).decode()}}}


async def test_an_empty_description_shows_nothing() -> None:
    assert await read() == OpenWorkflow(workflow_id="", run_id="", workflow_type="", task_queue="")


async def test_times_that_go_writes_for_none_are_none() -> None:
    found = await read(
        workflow_execution_info={"start_time": AT_NOON, "execution_time": YEAR_ONE},
        workflow_extended_info={
            "run_expiration_time": YEAR_ONE,
            "execution_expiration_time": "1970-01-01T00:00:00Z",
        },
    )

    assert found.started_at == NOON
    assert (found.execution_at, found.run_expires_at, found.execution_expires_at) == (None,) * 3


async def test_impossible_times_and_durations_are_none() -> None:
    description = DescribeWorkflowExecutionResponse()
    description.workflow_execution_info.start_time.seconds = 2**60
    description.workflow_extended_info.run_expiration_time.nanos = -5
    activity = description.pending_activities.add()
    activity.activity_options.heartbeat_timeout.seconds = 2**60
    activity.next_attempt_schedule_time.seconds = -(2**60)

    found = await open_workflow(description, Texts(Redactor(Redaction(), 9), None, "ns", "wf-1"))

    assert (found.started_at, found.run_expires_at) == (None, None)
    assert found.activities[0].heartbeat_timeout is None
    assert found.activities[0].next_attempt_at is None


async def test_a_workflow_and_its_times() -> None:
    found = await read(
        workflow_execution_info={
            "execution": {"workflow_id": "wf-1", "run_id": "run-1"},
            "type": {"name": "Provision"},
            "task_queue": "q",
            "start_time": AT_NOON,
            "execution_time": "2026-01-01T13:00:00Z",
        },
        workflow_extended_info={
            "run_expiration_time": "2026-01-02T12:00:00Z",
            "execution_expiration_time": "2026-01-03T12:00:00Z",
        },
        pending_children=[{"workflow_id": "child", "workflow_type_name": "Dns", "run_id": "run-9"}],
    )

    assert found == OpenWorkflow(
        workflow_id="wf-1",
        run_id="run-1",
        workflow_type="Provision",
        task_queue="q",
        started_at=NOON,
        execution_at=NOON + timedelta(hours=1),
        run_expires_at=NOON + timedelta(days=1),
        execution_expires_at=NOON + timedelta(days=2),
        children=(PendingChild("child", "Dns"),),
    )


@pytest.mark.recent_sdk
async def test_who_paused_a_workflow_is_redacted() -> None:
    found = await read(
        workflow_execution_info={"status": PAUSED},
        workflow_extended_info={
            "pause_info": {"identity": "ada@ops", "paused_time": AT_NOON, "reason": "ticket 42"}
        },
    )

    assert found.pause == Pause(NOON, "[redacted]", "ticket 42")


@pytest.mark.parametrize(
    ("attributes", "reason"),
    [
        (attribute("TemporalPauseInfo", '["Workflow:wf-1","Reason:ticket 42"]'), "ticket 42"),
        (attribute("TemporalPauseInfo", '["property:activityType=charge"]'), ""),
        (attribute("TemporalPauseInfo", '"Reason: x"'), ""),
        (attribute("TemporalPauseInfo", "not JSON"), ""),
        ({}, ""),
    ],
)
async def test_the_reason_of_a_pause_is_also_in_a_search_attribute(
    attributes: dict[str, Any], reason: str
) -> None:
    found = await read(workflow_execution_info={"status": PAUSED, "search_attributes": attributes})

    assert found.pause == Pause(None, reason=reason)


async def test_a_workflow_with_a_paused_activity_is_not_paused() -> None:
    attributes = attribute("TemporalPauseInfo", '["property:activityType=charge"]')

    assert (await read(workflow_execution_info={"search_attributes": attributes})).pause is None


@pytest.mark.parametrize(
    ("values", "problem"),
    [
        (
            '["category=WorkflowTaskFailed","cause=WorkflowTaskFailedCauseNonDeterministicError"]',
            "NonDeterministicError",
        ),
        (
            '["category=WorkflowTaskTimedOut","cause=WorkflowTaskTimedOutCauseStartToClose"]',
            "WorkflowTaskTimedOut: StartToClose",
        ),
        ('["category=WorkflowTaskFailed"]', "WorkflowTaskFailed"),
        ('["new in 2.0"]', "new in 2.0"),
        ('["cause=x=y", 5, null]', "x=y"),
        ("[]", None),
        ("{}", None),
        ("null", None),
        ("[" * 100_000, None),
        ("\x00", None),
    ],
)
async def test_the_problem_that_temporal_reports(values: str, problem: str | None) -> None:
    attributes = attribute("TemporalReportedProblems", values)

    found = await read(workflow_execution_info={"search_attributes": attributes})

    assert found.problem == problem


@pytest.mark.parametrize(
    ("task", "expected"),
    [
        (
            {"original_scheduled_time": AT_NOON, "attempt": 1, "state": 1},
            PendingTask(1, NOON, NOON),
        ),
        ({"scheduled_time": AT_NOON, "state": 1}, PendingTask(1, NOON, NOON)),
        (
            {"original_scheduled_time": AT_NOON, "attempt": 7, "state": 2},
            PendingTask(7, NOON, None, is_started=True),
        ),
        ({"state": 99}, PendingTask(1, None)),
    ],
)
async def test_of_a_later_attempt_a_workflow_task_does_not_show_when_the_first_was_scheduled(
    task: dict[str, Any], expected: PendingTask
) -> None:
    assert (await read(pending_workflow_task=task)).task == expected


@pytest.mark.parametrize(
    ("info", "version"),
    [
        ({}, None),
        ({"behavior": 1, "deployment_version": {"deployment_name": "d", "build_id": "7"}}, "d:7"),
        ({"behavior": 1, "version": "d.1.7"}, "d:1.7"),
        ({"behavior": 1}, None),
        ({"behavior": 2, "deployment_version": {"deployment_name": "d", "build_id": "7"}}, None),
        ({"behavior": 99, "version": "d.7"}, None),
        (
            {
                "behavior": 2,
                "versioning_override": {
                    "pinned": {"version": {"deployment_name": "d", "build_id": "8"}}
                },
            },
            "d:8",
        ),
        ({"versioning_override": {"behavior": 1, "pinned_version": "d.8"}}, "d:8"),
        (
            {
                "behavior": 1,
                "deployment_version": {"deployment_name": "d", "build_id": "7"},
                "versioning_override": {"auto_upgrade": True},
            },
            None,
        ),
    ],
)
async def test_the_version_that_a_run_is_pinned_to(
    info: dict[str, Any], version: str | None
) -> None:
    found = await read(workflow_execution_info={"versioning_info": info})

    assert found.version == version


async def test_an_activity() -> None:
    found = await activity(
        activity_id="5",
        activity_type={"name": "create_zone"},
        state="PENDING_ACTIVITY_STATE_STARTED",
        attempt=7,
        maximum_attempts=10,
        scheduled_time="2026-01-01T12:00:01Z",
        last_started_time="2026-01-01T12:00:02Z",
        last_heartbeat_time="2026-01-01T12:00:03Z",
        expiration_time="2026-01-01T12:00:04Z",
        next_attempt_schedule_time="2026-01-01T12:00:05Z",
        last_worker_identity="w1",
        last_failure={
            "message": "zone of\nada@example is full",
            "application_failure_info": {"type": "QuotaExceeded"},
        },
        activity_options={"task_queue": {"name": "slow"}, "heartbeat_timeout": "30s"},
    )

    assert found == PendingActivity(
        activity_id="5",
        activity_type="create_zone",
        task_queue="slow",
        state=ActivityState.STARTED,
        attempt=7,
        maximum_attempts=10,
        first_scheduled_at=None,
        scheduled_at=NOON + timedelta(seconds=1),
        started_at=NOON + timedelta(seconds=2),
        heartbeat_at=NOON + timedelta(seconds=3),
        heartbeat_timeout=timedelta(seconds=30),
        next_attempt_at=NOON + timedelta(seconds=5),
        expires_at=NOON + timedelta(seconds=4),
        failure="QuotaExceeded: zone of [redacted] is full",
        worker="w1",
    )


async def test_what_an_old_server_does_not_say_about_an_activity() -> None:
    """The workflow's queue stands for its own, and zero for no limit."""
    found = await read(
        workflow_execution_info={"task_queue": "q"},
        pending_activities=[{"scheduled_time": AT_NOON, "state": 1, "activity_options": {}}],
    )

    (only,) = found.activities
    assert (only.task_queue, only.attempt, only.maximum_attempts) == ("q", 1, None)
    assert (only.first_scheduled_at, only.heartbeat_timeout, only.failure) == (NOON, None, None)


@pytest.mark.parametrize(
    ("given", "state"),
    [
        ({"state": 1}, ActivityState.SCHEDULED),
        ({"state": 3}, ActivityState.CANCEL_REQUESTED),
        ({"state": 4, "paused": True}, ActivityState.PAUSED),
        ({"state": 5, "paused": True}, ActivityState.PAUSE_REQUESTED),
        ({"state": 1, "paused": True}, ActivityState.PAUSED),
        ({"state": 2, "paused": True}, ActivityState.PAUSE_REQUESTED),
        ({"state": 99}, None),
        ({}, None),
    ],
)
async def test_the_state_of_an_activity(given: dict[str, Any], state: ActivityState | None) -> None:
    assert (await activity(**given)).state is state


@pytest.mark.parametrize(
    ("given", "pause"),
    [
        (
            {"pause_time": AT_NOON, "manual": {"identity": "bob", "reason": "ask ada@ops"}},
            Pause(NOON, "bob", "ask [redacted]"),
        ),
        (
            {"pause_time": AT_NOON, "rule": {"rule_id": "dns", "identity": "x", "reason": "full"}},
            Pause(NOON, "rule dns", "full"),
        ),
        ({}, Pause(None)),
    ],
)
async def test_who_paused_an_activity(given: dict[str, Any], pause: Pause) -> None:
    assert (await activity(paused=True, pause_info=given)).pause == pause
    assert (await activity(pause_info=given)).pause is None, "not any more"


async def test_nexus_operations() -> None:
    found = await read(
        pending_nexus_operations=[
            {
                "endpoint": "billing",
                "service": "Invoices",
                "operation": "send",
                "scheduled_time": AT_NOON,
                "state": "PENDING_NEXUS_OPERATION_STATE_BLOCKED",
                "attempt": 6,
                "blocked_reason": "The circuit breaker is open.",
                "last_attempt_failure": {"message": "handler error (INTERNAL): 500"},
            },
            {"operation": "fine", "state": 2},
            {"operation": "unexplained", "state": 4},
        ]
    )

    assert found.operations == (
        PendingOperation(
            endpoint="billing",
            service="Invoices",
            operation="send",
            scheduled_at=NOON,
            attempt=6,
            blocked="The circuit breaker is open.",
            failure="handler error (INTERNAL): 500",
        ),
        PendingOperation("", "", "unexplained", None, blocked=""),
        PendingOperation("", "", "fine", None),
    )


async def test_what_a_newer_server_adds_is_passed_over() -> None:
    newer = DescribeWorkflowExecutionResponse()
    newer.workflow_execution_info.task_queue = "q"
    encoded = newer.SerializeToString() + bytes([0xF2, 0x7D, 3, 1, 2, 3])  # a field 2014
    texts = Texts(Redactor(Redaction(), 9), None, "ns", "wf-1")

    found = await open_workflow(DescribeWorkflowExecutionResponse.FromString(encoded), texts)

    assert found.task_queue == "q"


async def test_a_hostile_text_is_one_short_line() -> None:
    found = await activity(last_failure={"message": "a\r\nb\x1b[31m" + "x" * 5000})

    assert found.failure is not None
    assert len(found.failure) == 100
    assert found.failure.isprintable()
