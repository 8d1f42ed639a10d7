"""The workflow of `latency.py`, in a module of its own, and how each of its runs is ended."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from temporalio import workflow
from temporalio.common import RetryPolicy
from temporalio.exceptions import ApplicationError

#: Every way to end, and what it needs at the start.
KINDS: dict[str, dict[str, Any]] = {
    "completed": {},
    "failed": {},
    "cancelled": {},
    "terminated": {},
    "timed out": {"run_timeout": timedelta(seconds=1)},
    "failed after a retry": {
        "retry_policy": RetryPolicy(initial_interval=timedelta(seconds=0.2), maximum_attempts=2)
    },
    "continued as new, then completed": {},
    "reset, then terminated": {},
}


@workflow.defn(sandboxed=False)
class Ending:
    """Waits for a signal, and ends in the way that it was started for."""

    def __init__(self) -> None:
        self._may_end = False

    @workflow.run
    async def run(self, kind: str) -> None:
        """Wait, then end."""
        if workflow.info().attempt == 1 and workflow.info().continued_run_id is None:
            await workflow.wait_condition(lambda: self._may_end)
            if kind.startswith("continued"):
                workflow.continue_as_new(kind)
        if kind.startswith("failed"):
            raise ApplicationError("card declined", type="OrderFailed")

    @workflow.signal
    def end(self) -> None:
        """End now."""
        self._may_end = True
