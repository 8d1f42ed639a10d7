"""Signals and updates that come after a workflow's function has returned must not change its end.

Deterministic: where an earlier version let them change it, the history is replayed that way. A
patch records that this version has prevented it; it is only called where that matters.
"""

from __future__ import annotations

from typing import Sequence  # noqa: UP035 - SDK 1.19 takes no other in a dynamic handler

from temporalio import workflow
from temporalio.api.sdk.v1 import WorkflowDefinition
from temporalio.common import RawValue
from temporalio.exceptions import ApplicationError

#: The patch that marks a history in which something was prevented from changing the end. Never
#: change it.
PATCH = "reconciler-settled"
#: The type of the error with which updates are rejected.
ENDED = "WorkflowEnded"


def update_rejection() -> ApplicationError:
    """The error that the caller of a late update gets."""
    return ApplicationError(
        "this workflow has ended and takes no more updates", type=ENDED, non_retryable=True
    )


def may_intervene() -> bool:
    """Whether to prevent something from changing how the workflow ends.

    False while replaying a history in which it did change the end: an earlier version recorded it.
    """
    try:
        return workflow.patched(PATCH)
    except BaseException:  # noqa: BLE001 - evicted; or a patch_activation_callback that fails
        return False


def has_handlers() -> bool:
    """Whether the workflow has signal or update handlers at this moment, named or dynamic."""
    definition = _definition()
    return bool(definition.signal_definitions or definition.update_definitions)


def replace_handlers() -> None:
    """Reject updates and ignore signals from now on, where no interceptor does it."""
    has_some = has_handlers() or workflow.unsafe.is_replaying()
    if not (has_some and may_intervene()):
        return
    definition = _definition()
    for update in definition.update_definitions:
        if update.name:
            workflow.set_update_handler(update.name, None)
    workflow.set_dynamic_update_handler(_reject_update, validator=_validate_update)
    for signal in definition.signal_definitions:
        if signal.name:
            workflow.set_signal_handler(signal.name, None)
    workflow.set_dynamic_signal_handler(_ignore_signal)


def log_late_signal(name: str, error: BaseException | None) -> None:
    """Log that a signal came too late to matter, and what its handler raised."""
    workflow.logger.warning(
        "signal %s came after the end of this workflow%s", name, f": {error!r}" if error else ""
    )


def _validate_update(_: str, __: Sequence[RawValue]) -> None:
    raise update_rejection()


async def _reject_update(name: str, args: Sequence[RawValue]) -> None:
    _validate_update(name, args)


def _ignore_signal(name: str, _: Sequence[RawValue]) -> None:
    log_late_signal(name, None)


def _definition() -> WorkflowDefinition:
    """The current handlers, including those set at run time.

    From the query that Temporal's UI sends: the SDK lists them nowhere else.
    """
    metadata = workflow.get_query_handler("__temporal_workflow_metadata")
    definition: WorkflowDefinition = metadata().definition if metadata else WorkflowDefinition()
    return definition
