from __future__ import annotations

import pytest
from temporalio.api.enums.v1 import RetryState
from temporalio.api.failure.v1 import Failure
from temporalio.api.history.v1 import (
    HistoryEvent,
    WorkflowExecutionCanceledEventAttributes,
    WorkflowExecutionCompletedEventAttributes,
    WorkflowExecutionContinuedAsNewEventAttributes,
    WorkflowExecutionFailedEventAttributes,
    WorkflowExecutionTerminatedEventAttributes,
    WorkflowExecutionTimedOutEventAttributes,
)

from reconciler.temporal.failures.close_event import describe_close, next_run_id


def terminated(identity: str, reason: str) -> HistoryEvent:
    return HistoryEvent(
        workflow_execution_terminated_event_attributes=WorkflowExecutionTerminatedEventAttributes(
            identity=identity, reason=reason
        )
    )


def timed_out(state: RetryState.ValueType) -> HistoryEvent:
    return HistoryEvent(
        workflow_execution_timed_out_event_attributes=WorkflowExecutionTimedOutEventAttributes(
            retry_state=state
        )
    )


FAILED = HistoryEvent(
    workflow_execution_failed_event_attributes=WorkflowExecutionFailedEventAttributes(
        failure=Failure(message="boom"), new_execution_run_id="run-2"
    )
)
CANCELED = HistoryEvent(
    workflow_execution_canceled_event_attributes=WorkflowExecutionCanceledEventAttributes()
)
CONTINUED = HistoryEvent(
    workflow_execution_continued_as_new_event_attributes=(
        WorkflowExecutionContinuedAsNewEventAttributes(new_execution_run_id="run-2")
    )
)
CRON_TICK = HistoryEvent(
    workflow_execution_completed_event_attributes=WorkflowExecutionCompletedEventAttributes(
        new_execution_run_id="run-2"
    )
)


@pytest.mark.parametrize(
    ("event", "cause", "text"),
    [
        pytest.param(FAILED, "", "boom", id="failed"),
        pytest.param(
            timed_out(RetryState.RETRY_STATE_TIMEOUT),
            "",
            "workflow execution timed out",
            id="execution timeout",
        ),
        pytest.param(
            timed_out(RetryState.RETRY_STATE_RETRY_POLICY_NOT_SET),
            "",
            "workflow run timed out",
            id="run timeout",
        ),
        pytest.param(
            terminated("alice@ops", "ticket 42"),
            "",
            "terminated by alice@ops: ticket 42",
            id="terminated",
        ),
        pytest.param(terminated("", ""), "", "terminated", id="terminated without a reason"),
        pytest.param(CANCELED, "ticket 42", "canceled: ticket 42", id="canceled with a reason"),
        pytest.param(CANCELED, "", "canceled", id="canceled without a reason"),
        pytest.param(HistoryEvent(), "", "closed by an event without attributes", id="nothing"),
    ],
)
def test_describe_close(event: HistoryEvent, cause: str, text: str) -> None:
    assert describe_close(event, cause) == text


@pytest.mark.parametrize(
    ("event", "run_id"),
    [
        pytest.param(FAILED, "run-2", id="retry"),
        pytest.param(CONTINUED, "run-2", id="continue-as-new"),
        pytest.param(CRON_TICK, "run-2", id="cron"),
        pytest.param(CANCELED, "", id="the end"),
        pytest.param(HistoryEvent(), "", id="nothing"),
    ],
)
def test_next_run_id(event: HistoryEvent, run_id: str) -> None:
    assert next_run_id(event) == run_id
