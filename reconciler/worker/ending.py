"""How a run of a workflow is about to end, by the rules of the SDK. Deterministic, does no I/O.

The SDK decides only after the workflow's function and all interceptors are through
(`_run_top_level_workflow_function`, SDK 1.35). The main path has to know before: here is the same
decision in the same order.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import Any

from temporalio import workflow
from temporalio.api.common.v1 import Payload
from temporalio.api.failure.v1 import Failure
from temporalio.converter import (
    FailureConverter,
    PayloadConverter,
    WithSerializationContext,
    WorkflowSerializationContext,
)
from temporalio.exceptions import CancelledError, is_cancelled_exception

from reconciler.core.model import CloseStatus
from reconciler.temporal.attributes import encoded_attributes, message_in, with_messages
from reconciler.temporal.failure import describe_cancellation, describe_failure

#: Bytes. A server refuses a result or a failure above its limit, by default 2 MB
#: (`limit.blobSize.error`), and terminates the workflow instead (measured on server 1.32); a
#: payload codec may add to the size. What comes near is left to the reconciler.
LARGEST = 1_000_000


@dataclass(frozen=True, slots=True)
class Ending:
    """What the workflow is about to tell Temporal, and what is to stand in its row."""

    status: CloseStatus
    #: The failure as the reconciler would describe it, neither cut nor cleaned.
    error_message: str | None = None
    #: The same with the messages that the failure converter has encoded, if there are any.
    decoded_message: str | None = None


def ending_of_result(result: Any) -> Ending | None:
    """The end of a run that returns `result`; None if its chain goes on, or it may.

    Raises what the SDK would raise next if the result cannot be serialised: that is a failure of
    the workflow task, after which the workflow still runs.
    """
    payloads = workflow.payload_converter().to_payloads([result])
    if len(payloads) != 1 or payloads[0].ByteSize() > LARGEST:
        return None  # the SDK refuses the first, the server the second
    if workflow.info().cron_schedule:
        return None  # the next tick follows in the same chain
    return Ending(CloseStatus.COMPLETED)


def ending_of_error(error: BaseException, converter: type[FailureConverter]) -> Ending | None:
    """The end of a run that raises `error`; None if its chain goes on, or it may.

    `converter` must be the one that the worker uses: its text is what Temporal will know.
    """
    if isinstance(error, asyncio.CancelledError):
        error = CancelledError(str(error))  # as the SDK does
    info = workflow.info()
    if info.cron_schedule:
        return None
    reason = workflow.cancellation_reason()
    if reason is not None and is_cancelled_exception(error):
        return Ending(CloseStatus.CANCELED, describe_cancellation(reason))
    if not workflow.is_failure_exception(error):
        return None  # fails the workflow task; the workflow still runs
    try:
        failure = _as_failure(error, converter)
    except Exception:  # noqa: BLE001 - the SDK is about to meet it too
        return None
    if failure.ByteSize() > LARGEST or _may_be_retried(failure, info):
        return None
    return Ending(CloseStatus.FAILED, describe_failure(failure), _decoded_text(failure))


def _as_failure(error: BaseException, converter_type: type[FailureConverter]) -> Failure:
    converter = converter_type()
    if isinstance(converter, WithSerializationContext):
        info = workflow.info()
        converter = converter.with_context(
            WorkflowSerializationContext(namespace=info.namespace, workflow_id=info.workflow_id)
        )
    failure = Failure()
    converter.to_failure(error, workflow.payload_converter(), failure)
    return failure


def _decoded_text(failure: Failure) -> str | None:
    """As the reconciler would describe it once it has decoded it; no codec has been at it yet."""
    encoded = encoded_attributes(failure)
    if not encoded:
        return None
    converter = workflow.payload_converter()
    return describe_failure(
        with_messages(failure, [_message(converter, payload) for payload in encoded])
    )


def _message(converter: PayloadConverter, payload: Payload) -> str | None:
    try:
        return message_in(converter.from_payloads([payload])[0])
    except Exception:  # noqa: BLE001 - then it stays encoded
        return None


def _may_be_retried(failure: Failure, info: workflow.Info) -> bool:
    """Whether the server may start another attempt. Where that is not certain, it may.

    The server retries unless the attempts are used up, the failure is not retryable, or the
    execution timeout would pass before; the last cannot be told from here.
    """
    policy = info.retry_policy
    if policy is None:
        return False
    if policy.maximum_attempts and info.attempt >= policy.maximum_attempts:
        return False
    application = failure.application_failure_info
    never = policy.non_retryable_error_types or ()
    return not application.non_retryable and application.type not in never
