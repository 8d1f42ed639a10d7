"""One line from a Failure proto: kinds, chains, and protos that no current SDK makes."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from temporalio.api.common.v1 import ActivityType, WorkflowExecution, WorkflowType
from temporalio.api.enums.v1 import RetryState, TimeoutType
from temporalio.api.failure.v1 import (
    ActivityFailureInfo,
    ApplicationFailureInfo,
    CanceledFailureInfo,
    ChildWorkflowExecutionFailureInfo,
    Failure,
    NexusHandlerFailureInfo,
    NexusOperationFailureInfo,
    ServerFailureInfo,
    TerminatedFailureInfo,
    TimeoutFailureInfo,
)

from reconciler.temporal.failures.text import MAX_DEPTH, describe_failure

EXHAUSTED = RetryState.RETRY_STATE_MAXIMUM_ATTEMPTS_REACHED


def application(type_: str, message: str, cause: Failure | None = None) -> Failure:
    info = ApplicationFailureInfo(type=type_)
    return Failure(message=message, application_failure_info=info, cause=cause)


def activity(name: str, retries: int = EXHAUSTED, cause: Failure | None = None) -> Failure:
    info: Any = ActivityFailureInfo(activity_type=ActivityType(name=name))
    info.retry_state = retries
    return Failure(message="Activity task failed", activity_failure_info=info, cause=cause)


def child(name: str, id_: str, cause: Failure | None = None) -> Failure:
    info = ChildWorkflowExecutionFailureInfo(
        workflow_type=WorkflowType(name=name),
        workflow_execution=WorkflowExecution(workflow_id=id_),
        retry_state=RetryState.RETRY_STATE_RETRY_POLICY_NOT_SET,
    )
    text = "Child Workflow execution failed"
    return Failure(message=text, child_workflow_execution_failure_info=info, cause=cause)


def timeout(kind: int, message: str = "", cause: Failure | None = None) -> Failure:
    info: Any = TimeoutFailureInfo()
    info.timeout_type = kind
    return Failure(message=message, timeout_failure_info=info, cause=cause)


QUOTA = application("QuotaExceeded", "zone limit is 50")


@pytest.mark.parametrize(
    ("failure", "text"),
    [
        pytest.param(QUOTA, "QuotaExceeded: zone limit is 50", id="application"),
        pytest.param(application("", "no money"), "no money", id="application without type"),
        pytest.param(application("Declined", ""), "Declined", id="application without message"),
        pytest.param(
            application("PaymentDeclined", "Encoded failure"),
            "PaymentDeclined: Encoded failure",
            id="encoded: the type stays readable",
        ),
        pytest.param(
            child("ProvisionDns", "t-42/dns", activity("create_zone", cause=QUOTA)),
            "child workflow ProvisionDns [t-42/dns] failed: activity create_zone failed "
            "(maximum attempts reached): QuotaExceeded: zone limit is 50",
            id="child, activity, application: outermost first",
        ),
        pytest.param(
            activity("boom", RetryState.RETRY_STATE_NON_RETRYABLE_FAILURE),
            "activity boom failed (non retryable failure)",
            id="activity that may not be retried",
        ),
        pytest.param(
            activity("boom", RetryState.RETRY_STATE_RETRY_POLICY_NOT_SET),
            "activity boom failed",
            id="activity without a retry policy",
        ),
        pytest.param(activity("boom", 99), "activity boom failed", id="unknown retry state"),
        pytest.param(
            activity("slow", cause=timeout(TimeoutType.TIMEOUT_TYPE_START_TO_CLOSE)),
            "activity slow failed (maximum attempts reached): start to close timeout",
            id="activity timeout",
        ),
        pytest.param(
            timeout(TimeoutType.TIMEOUT_TYPE_HEARTBEAT, "activity Heartbeat timeout"),
            "heartbeat timeout",
            id="the server's text for a timeout is redundant",
        ),
        pytest.param(
            timeout(TimeoutType.TIMEOUT_TYPE_SCHEDULE_TO_CLOSE, "gave up", cause=QUOTA),
            "schedule to close timeout: gave up: QuotaExceeded: zone limit is 50",
            id="a timeout's own message and cause",
        ),
        pytest.param(timeout(99), "timeout", id="unknown timeout type"),
        pytest.param(
            Failure(message="Workflow cancelled", canceled_failure_info=CanceledFailureInfo()),
            "canceled",
            id="canceled",
        ),
        pytest.param(
            Failure(message="by customer", canceled_failure_info=CanceledFailureInfo()),
            "canceled: by customer",
            id="canceled with a reason",
        ),
        pytest.param(
            Failure(message="", terminated_failure_info=TerminatedFailureInfo()),
            "terminated",
            id="terminated",
        ),
        pytest.param(
            Failure(message="shard lost", server_failure_info=ServerFailureInfo()),
            "shard lost",
            id="server failure",
        ),
        pytest.param(
            Failure(
                message="nexus operation completed unsuccessfully",
                nexus_operation_execution_failure_info=NexusOperationFailureInfo(
                    service="billing", operation="charge"
                ),
                cause=QUOTA,
            ),
            "nexus operation billing/charge failed: QuotaExceeded: zone limit is 50",
            id="nexus operation",
        ),
        pytest.param(
            Failure(
                message="not yours",
                nexus_handler_failure_info=NexusHandlerFailureInfo(type="UNAUTHORIZED"),
            ),
            "nexus handler error UNAUTHORIZED: not yours",
            id="nexus handler",
        ),
        pytest.param(Failure(message="odd"), "odd", id="no kind"),
        pytest.param(Failure(), "failed", id="empty"),
    ],
)
def test_describe_failure(failure: Failure, text: str) -> None:
    assert describe_failure(failure) == text


def test_an_endless_chain_is_cut() -> None:
    failure = application("T", "0")
    for number in range(1, 80):
        failure = application("T", str(number), cause=failure)

    assert describe_failure(failure).count("T: ") == MAX_DEPTH


@given(st.binary(max_size=300))
def test_any_proto_is_described(raw: bytes) -> None:
    failure = Failure()
    try:
        failure.ParseFromString(raw)
    except Exception:  # noqa: BLE001 - not a proto
        return

    assert describe_failure(failure)
