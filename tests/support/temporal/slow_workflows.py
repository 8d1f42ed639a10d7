"""Allow slow workflow code: after two seconds the SDK assumes a deadlock and interrupts it."""

from __future__ import annotations

from typing import Any

from temporalio.worker._workflow import _WorkflowWorker

from tests.support.polling import PATIENCE


def allow_slow_workflows() -> None:
    """For all workers of this process. The SDK's only setting is debug mode, which runs inline."""
    init = _WorkflowWorker.__init__

    def patient(self: _WorkflowWorker, *arguments: Any, **options: Any) -> None:
        init(self, *arguments, **options)
        self._deadlock_timeout_seconds = PATIENCE

    _WorkflowWorker.__init__ = patient  # type: ignore[method-assign]
