"""The workflow of `hold.py`, in a module that the sandbox loads quickly."""

from __future__ import annotations

from temporalio import workflow


@workflow.defn
class Returning:
    """Returns immediately."""

    @workflow.run
    async def run(self) -> str:
        """Return."""
        return "done"
