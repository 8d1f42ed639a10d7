"""Describe Temporal's `Failure` proto in one line. Pure: no client, no data converter.

Used by the probe and by the main path, so that both give the same text for the same failure. It
walks the proto rather than the SDK's exceptions: their texts do not name the cause ("Workflow
execution failed", "Activity task failed"), and with an unknown payload codec decoding raises,
while the proto stays readable (measured on server 1.32, SDK 1.35).
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from temporalio.api.enums.v1 import RetryState, TimeoutType
from temporalio.api.failure.v1 import Failure

#: Deeper causes are cut: nobody reads them, and a proto has no limit of its own.
MAX_DEPTH = 20

# Retry states without information for the reader: no retry policy, or still retrying.
_SILENT_RETRY_STATES = (
    RetryState.RETRY_STATE_UNSPECIFIED,
    RetryState.RETRY_STATE_IN_PROGRESS,
    RetryState.RETRY_STATE_RETRY_POLICY_NOT_SET,
)
# What server and SDK put into `message` by default; the kind already says it.
_BOILERPLATE = re.compile(
    r"activity \w+ timeout|(workflow|activity|child workflow)?( execution)? ?cancell?ed"
    r"|workflow (timeout|timed out|terminated)",
    re.IGNORECASE,
)


def describe_failure(failure: Failure) -> str:
    """The failure and its causes, outermost first, joined by colons. Neither cut nor cleaned.

    Example: `child workflow ProvisionDns [t-42/dns] failed: activity create_zone failed (maximum
    attempts reached): QuotaExceeded: zone limit is 50`.
    """
    return ": ".join(filter(None, map(_describe_one, chain(failure)))) or "failed"


def describe_cancellation(cause: str) -> str:
    """Why a workflow was cancelled; `cause` may be empty."""
    return f"canceled: {cause}" if cause else "canceled"


def chain(failure: Failure) -> Iterator[Failure]:
    """The failure and its causes, outermost first, `MAX_DEPTH` at most."""
    for _ in range(MAX_DEPTH):
        yield failure
        if not failure.HasField("cause"):
            return
        failure = failure.cause


def _describe_one(failure: Failure) -> str:
    """This failure alone, without its cause."""
    match failure.WhichOneof("failure_info"):
        case "application_failure_info":
            return _join(failure.application_failure_info.type, failure.message)
        case "activity_failure_info":
            activity = failure.activity_failure_info
            return f"activity {activity.activity_type.name} failed{_retries(activity.retry_state)}"
        case "child_workflow_execution_failure_info":
            child = failure.child_workflow_execution_failure_info
            name = f"{child.workflow_type.name} [{child.workflow_execution.workflow_id}]"
            return f"child workflow {name} failed{_retries(child.retry_state)}"
        case "timeout_failure_info":
            kind = _timeout_kind(failure.timeout_failure_info.timeout_type)
            return _join(f"{kind} timeout".lstrip(), _own_message(failure))
        case "canceled_failure_info":
            return _join("canceled", _own_message(failure))
        case "terminated_failure_info":
            return _join("terminated", _own_message(failure))
        case "nexus_operation_execution_failure_info":
            nexus = failure.nexus_operation_execution_failure_info
            return f"nexus operation {nexus.service}/{nexus.operation} failed"
        case "nexus_handler_failure_info":
            handler = failure.nexus_handler_failure_info
            return _join(f"nexus handler error {handler.type}", failure.message)
        case _:  # server failures, resets, and kinds that a newer server may add
            return failure.message


def _own_message(failure: Failure) -> str:
    return "" if _BOILERPLATE.fullmatch(failure.message.strip()) else failure.message


def _retries(state: RetryState.ValueType) -> str:
    # A server newer than our protos may send a state without a name.
    if state in _SILENT_RETRY_STATES or state not in RetryState.values():
        return ""
    return f" ({_words(RetryState.Name(state), 'RETRY_STATE_')})"


def _timeout_kind(kind: TimeoutType.ValueType) -> str:
    if kind == TimeoutType.TIMEOUT_TYPE_UNSPECIFIED or kind not in TimeoutType.values():
        return ""
    return _words(TimeoutType.Name(kind), "TIMEOUT_TYPE_")


def _words(name: str, prefix: str) -> str:
    return name.removeprefix(prefix).lower().replace("_", " ")


def _join(*parts: str) -> str:
    return ": ".join(part for part in parts if part)
