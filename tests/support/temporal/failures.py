"""Failures as Temporal keeps them, their messages encoded."""

from __future__ import annotations

from typing import Any

from temporalio.api.common.v1 import ActivityType
from temporalio.api.failure.v1 import ActivityFailureInfo, ApplicationFailureInfo, Failure
from temporalio.api.history.v1 import HistoryEvent, WorkflowExecutionFailedEventAttributes
from temporalio.converter import DataConverter

PLACEHOLDER = "Encoded failure"


def encoded(attributes: object, **fields: Any) -> Failure:
    """A failure whose attributes are encoded, but not encrypted."""
    (payload,) = DataConverter.default.payload_converter.to_payloads([attributes])
    return Failure(message=PLACEHOLDER, encoded_attributes=payload, **fields)


def refused(message: str = "no money", **fields: Any) -> Failure:
    attributes = {"message": message, "stack_trace": ""}
    info = ApplicationFailureInfo(type="Refused")
    return encoded(attributes, application_failure_info=info, **fields)


def in_activity(cause: Failure) -> Failure:
    info = ActivityFailureInfo(activity_type=ActivityType(name="charge"))
    attributes = {"message": "Activity task failed", "stack_trace": ""}
    return encoded(attributes, activity_failure_info=info, cause=cause)


async def sealed(failure: Failure, converter: DataConverter) -> Failure:
    """As it arrives from a client with this converter."""
    assert converter.payload_codec
    await converter.payload_codec.encode_failure(failure)
    return failure


def closing(failure: Failure) -> HistoryEvent:
    return HistoryEvent(
        workflow_execution_failed_event_attributes=WorkflowExecutionFailedEventAttributes(
            failure=failure
        )
    )
