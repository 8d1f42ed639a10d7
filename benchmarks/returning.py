"""The workflows of `hold.py` and `after_close.py`, in a module that the sandbox loads quickly."""

from __future__ import annotations

from temporalio import workflow


@workflow.defn
class Returning:
    """Returns immediately."""

    @workflow.run
    async def run(self) -> str:
        """Return."""
        return "done"


@workflow.defn
class Draining:
    """Returns how often it was signalled as soon as nothing is left to take."""

    def __init__(self) -> None:
        self.signals = 0

    @workflow.signal
    def send(self) -> None:
        """Count."""
        self.signals += 1

    @workflow.run
    async def run(self) -> int:
        """Return."""
        return self.signals


@workflow.defn
class Answering:
    """Ends with the first update, which it answers with its run id."""

    def __init__(self) -> None:
        self.is_done = False

    @workflow.update
    def answer(self) -> str:
        """Let the workflow end."""
        self.is_done = True
        return workflow.info().run_id

    @workflow.run
    async def run(self) -> None:
        """Wait for the update."""
        await workflow.wait_condition(lambda: self.is_done)
