"""The cancellation request that a workflow has received, in any supported SDK."""

from __future__ import annotations

from typing import Any

from temporalio import workflow


def cancellation_reason() -> str | None:
    """Why the current workflow was asked to cancel; None if it was not.

    SDKs before 1.28 drop the reason: it is empty then.
    """
    if hasattr(workflow, "cancellation_reason"):
        return workflow.cancellation_reason()
    instance: Any = workflow._Runtime.current()  # noqa: SLF001 - it is kept nowhere else
    return "" if instance._cancel_requested else None  # noqa: SLF001
