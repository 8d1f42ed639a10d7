"""How a run of a workflow is about to end, by the rules of the SDK. Deterministic, does no I/O.

The SDK decides only after the workflow's function and all interceptors are through
(`_run_top_level_workflow_function`, SDK 1.35). The main path has to know before: here is the same
decision in the same order.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

from temporalio import workflow
from temporalio.api.common.v1 import Payload
from temporalio.api.failure.v1 import Failure
from temporalio.converter import PayloadConverter
from temporalio.exceptions import is_cancelled_exception

from reconciler.core.model import CloseStatus
from reconciler.temporal.failures.encoded_attributes import (
    encoded_attributes,
    message_in,
    with_messages,
)
from reconciler.temporal.failures.text import describe_cancellation, describe_failure
from reconciler.worker.kept import KeptError, KeptResult

#: Bytes. The server accepts no result and no failure above its limit, by default twice this
#: (`limit.blobSize.error`), and the workflow then stays open or is terminated (SDK 1.35, server
#: 1.32). A payload codec may add to the size. What is larger is left to the reconciler.
LARGEST = 1_000_000
#: Causes of causes. One that is 97 deep does not reach the server: the SDK reads back what it is to
#: send, and protobuf gives up at 100 levels (SDK 1.35).
DEEPEST = 90


@dataclass(frozen=True, slots=True)
class Ending:
    """What the workflow is about to tell Temporal, and what is to stand in its row."""

    status: CloseStatus
    #: The failure as the reconciler would describe it, neither cut nor cleaned.
    error_message: str | None = None
    #: The same with the messages that the failure converter has encoded, if there are any.
    decoded_message: str | None = None


def ending_of_result(kept: KeptResult, largest: int) -> Ending | None:
    """The end of a run that returns this; None if its chain goes on, or it may.

    `largest` is what the server is sure to accept, in bytes.
    """
    if len(kept.payloads) != 1 or kept.payloads[0].ByteSize() > largest:
        return None  # the SDK refuses the first, the server the second
    if not kept.is_kept:
        return None  # by the time the row is written it may be another result
    return Ending(CloseStatus.COMPLETED)


def ending_of_error(kept: KeptError, largest: int) -> Ending | None:
    """The end of a run that raises this; None if its chain goes on, or it may.

    May raise anything: the error's own text and the failure converter are other people's code.
    """
    error = kept.error
    reason = workflow.cancellation_reason()
    if reason is not None and is_cancelled_exception(error):
        return Ending(CloseStatus.CANCELED, describe_cancellation(reason))
    # Any cancellation is raised as one of Temporal's errors by the SDK.
    if not isinstance(error, asyncio.CancelledError) and not workflow.is_failure_exception(error):
        return None  # fails the workflow task; the workflow still runs
    failure = kept.convert()
    if failure.ByteSize() > largest or _is_too_deep(failure) or _may_be_retried(failure):
        return None
    return Ending(CloseStatus.FAILED, describe_failure(failure), _decoded_text(failure))


def _is_too_deep(failure: Failure) -> bool:
    for _ in range(DEEPEST):
        if not failure.HasField("cause"):
            return False
        failure = failure.cause
    return True


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


def _may_be_retried(failure: Failure) -> bool:
    """Whether the server may start another attempt. Where that is not certain, it may.

    The server retries unless the attempts are used up, the failure is not retryable, or the
    execution timeout would pass before; the last cannot be told from here.
    """
    info = workflow.info()
    policy = info.retry_policy
    if policy is None:
        return False
    if policy.maximum_attempts and info.attempt >= policy.maximum_attempts:
        return False
    application = failure.application_failure_info
    never = policy.non_retryable_error_types or ()
    return not application.non_retryable and application.type not in never
