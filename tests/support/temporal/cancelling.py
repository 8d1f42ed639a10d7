"""Cancellations with a reason, by SDKs that know reasons."""

from __future__ import annotations

from typing import Any

from temporalio import workflow
from temporalio.client import WorkflowHandle

#: Since SDK 1.28.
KNOWS_REASONS = hasattr(workflow, "cancellation_reason")


async def cancel(handle: WorkflowHandle[Any, Any], reason: str) -> None:
    await (handle.cancel(reason=reason) if KNOWS_REASONS else handle.cancel())


def canceled(reason: str) -> str:
    """The message of a workflow that was cancelled by the above."""
    return f"canceled: {reason}" if KNOWS_REASONS else "canceled"
