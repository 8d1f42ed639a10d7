"""How a run of a workflow is about to end, by the SDK's rules. Deterministic, does no I/O.

The SDK decides only after the workflow's function and all interceptors have returned
(`_run_top_level_workflow_function`, SDK 1.35). The main path has to know earlier, so this makes the
same decision in the same order.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from enum import Enum
from typing import Any
from uuid import UUID

from temporalio import workflow
from temporalio.api.common.v1 import Payload
from temporalio.api.failure.v1 import Failure
from temporalio.converter import PayloadConverter
from temporalio.exceptions import is_cancelled_exception

from reconciler.core.model import CloseStatus
from reconciler.core.text import LONGEST
from reconciler.temporal.failures.encoded_attributes import (
    encoded_attributes,
    message_in,
    with_messages,
)
from reconciler.temporal.failures.text import describe_cancellation, describe_failure
from reconciler.worker.cancellation import cancellation_reason
from reconciler.worker.report import EndReport
from reconciler.worker.snapshot import ErrorSnapshot, ResultSnapshot

#: Bytes. The server rejects a result or failure above its limit, by default twice this
#: (`limit.blobSize.error`), and the workflow then stays open or is terminated (SDK 1.35, server
#: 1.32). A payload codec may add to the size. Larger ones are left to the reconciler.
PAYLOAD_LIMIT = 1_000_000
#: Levels of causes. A failure with 97 never reaches the server: the SDK parses what it is about to
#: send, and protobuf gives up at 100 levels (SDK 1.35).
DEEPEST = 90
#: Characters of a failure in a report; the activity cuts them to the configured limit. Enough for
#: the same text as the reconciler's, and well below the server's limit of two megabytes.
LONGEST_TEXT = LONGEST


def end_with_result(result: ResultSnapshot, payload_limit: int) -> EndReport | None:
    """The end of a run that returns this; None if the chain may continue.

    `payload_limit`: bytes that the server is sure to accept.
    """
    if len(result.payloads) != 1 or result.payloads[0].ByteSize() > payload_limit:
        return None  # the SDK rejects the first, the server the second
    if not result.is_stable:
        return None  # another result may be returned once the row is written
    return end_report(CloseStatus.COMPLETED)


def chosen_status(status_of: Callable[[Any], object], result: object) -> str | None:
    """What `status_of` makes of a result; None: leave the row. Raises what it raises, `TypeError`.

    It does not get an iterator, which could be returned only once.
    """
    if isinstance(result, Iterator):
        raise TypeError("status_of cannot look at an iterator without using it up: return a list")
    value = status_of(result)
    return None if value is None else status_text(value)


def status_text(value: object) -> str:
    """What `status_of` returned, as PostgreSQL writes it. Raises `TypeError`."""
    plain = value.value if isinstance(value, Enum) else value
    if isinstance(plain, bool):
        return str(plain).lower()
    if isinstance(plain, str | int | UUID):
        return str(plain)
    raise TypeError(
        "status_of must return a value of the status column, or None to leave the row, not "
        f"{type(value).__name__}"
    )


def end_with_error(raised: ErrorSnapshot, payload_limit: int) -> EndReport | None:
    """The end of a run that raises this; None if the chain may continue.

    May raise anything: the error's text and the failure converter are other people's code.
    """
    error = raised.error
    reason = cancellation_reason()
    if reason is not None and is_cancelled_exception(error):
        return end_report(CloseStatus.CANCELED, describe_cancellation(reason))
    if fails_the_task(error):
        return None
    failure = raised.convert()
    if failure.ByteSize() > payload_limit or _is_too_deep(failure) or _may_be_retried(failure):
        return None
    return end_report(CloseStatus.FAILED, describe_failure(failure), _decoded_text(failure))


def fails_the_task(error: BaseException) -> bool:
    """Whether the SDK fails the workflow *task* for this, and the workflow keeps running.

    It raises any cancellation as one of Temporal's errors.
    """
    return not (isinstance(error, asyncio.CancelledError) or workflow.is_failure_exception(error))


def end_report(
    status: CloseStatus, error_message: str | None = None, decoded_message: str | None = None
) -> EndReport:
    """The report of the workflow that this is called in. Its texts may be of any length."""
    info = workflow.info()
    return EndReport(
        info.workflow_id,
        status.value,
        info.first_execution_run_id,
        info.workflow_start_time,
        error_message and error_message[:LONGEST_TEXT],
        decoded_message and decoded_message[:LONGEST_TEXT],
    )


def _is_too_deep(failure: Failure) -> bool:
    for _ in range(DEEPEST):
        if not failure.HasField("cause"):
            return False
        failure = failure.cause
    return True


def _decoded_text(failure: Failure) -> str | None:
    """The text that the reconciler would write after decoding; no codec has encoded it yet."""
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
    """Whether the server may start another attempt; True if in doubt.

    The server retries unless the attempts are used up, the failure is not retryable, or the
    execution timeout would expire first. A workflow cannot know the last of these.
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
