"""The workflow whose hold is measured; a module that the workflow sandbox loads quickly."""

from __future__ import annotations

from temporalio import workflow


@workflow.defn
class Returning:
    """Returns at once."""

    @workflow.run
    async def run(self) -> str:
        """Return."""
        return "done"
