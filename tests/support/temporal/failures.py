"""Failures with encoded messages, as Temporal stores them."""

from __future__ import annotations

from typing import Any

from structlog.testing import capture_logs
from temporalio.api.common.v1 import ActivityType
from temporalio.api.failure.v1 import ActivityFailureInfo, ApplicationFailureInfo, Failure
from temporalio.api.history.v1 import HistoryEvent, WorkflowExecutionFailedEventAttributes
from temporalio.converter import DataConverter

from reconciler.temporal.failures.failure_decoder import FailureDecoder

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
    """The failure as it arrives from a client with this converter."""
    assert converter.payload_codec
    await converter.payload_codec.encode_failure(failure)
    return failure


def closing(failure: Failure) -> HistoryEvent:
    return HistoryEvent(
        workflow_execution_failed_event_attributes=WorkflowExecutionFailedEventAttributes(
            failure=failure
        )
    )


def reasons(decoder: FailureDecoder) -> str:
    """Why a failure could not be decoded, as logged."""
    with capture_logs() as lines:
        decoder.log_undecoded()
    return "; ".join(line["why"].removesuffix(" (1)") for line in lines)
