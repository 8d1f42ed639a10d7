"""After a workflow's function has returned, nothing that comes later may change how it ends.

Deterministic: what earlier versions have let happen is replayed as it happened. Whether this one
has kept it from happening is recorded by a patch, which is asked for only where that matters.
"""

from __future__ import annotations

from collections.abc import Sequence

from temporalio import workflow
from temporalio.api.sdk.v1 import WorkflowDefinition
from temporalio.common import RawValue
from temporalio.exceptions import ApplicationError

#: Marks, in its history, that something was kept from changing how a workflow ends. Never to be
#: changed.
PATCH = "reconciler-settled"
#: The type of the error with which updates are refused.
ENDED = "WorkflowEnded"


def refusal() -> ApplicationError:
    """What the caller of an update is told."""
    return ApplicationError(
        "this workflow has ended and takes no more updates", type=ENDED, non_retryable=True
    )


def overrules_history() -> bool:
    """Whether to keep something from changing how the workflow ends.

    Not in the replay of a history in which it did change it: recorded by an earlier version.
    """
    try:
        return workflow.patched(PATCH)
    except BaseException:  # noqa: BLE001 - evicted; or a patch_activation_callback that fails
        return False


def has_handlers() -> bool:
    """Whether the workflow takes signals or updates by now, by name or whatever comes."""
    definition = _definition()
    return bool(definition.signal_definitions or definition.update_definitions)


def seal_by_hand() -> None:
    """Take no more signals and updates, where no interceptor watches over their handlers."""
    taken = has_handlers() or workflow.unsafe.is_replaying()
    if not (taken and overrules_history()):
        return
    definition = _definition()
    for update in definition.update_definitions:
        if update.name:
            workflow.set_update_handler(update.name, None)
    workflow.set_dynamic_update_handler(_refused, validator=_refuse)
    for signal in definition.signal_definitions:
        if signal.name:
            workflow.set_signal_handler(signal.name, None)
    workflow.set_dynamic_signal_handler(_ignore)


def log_late_signal(name: str, error: BaseException | None) -> None:
    """Say that a signal came too late to matter, and what its handler raised."""
    workflow.logger.warning(
        "signal %s came after the end of this workflow%s", name, f": {error!r}" if error else ""
    )


def _refuse(_: str, __: Sequence[RawValue]) -> None:
    raise refusal()


async def _refused(name: str, args: Sequence[RawValue]) -> None:
    _refuse(name, args)


def _ignore(name: str, _: Sequence[RawValue]) -> None:
    log_late_signal(name, None)


def _definition() -> WorkflowDefinition:
    """The handlers that there are, those set at run time included.

    From the query that Temporal's own UI asks: the SDK lists them nowhere else.
    """
    metadata = workflow.get_query_handler("__temporal_workflow_metadata")
    definition: WorkflowDefinition = metadata().definition if metadata else WorkflowDefinition()
    return definition
