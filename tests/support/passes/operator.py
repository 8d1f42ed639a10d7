"""An operator for backfills and plans."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext

from reconciler.app.backfill import Preview
from reconciler.core.observer import Observer


class Operator:
    """Confirms everything."""

    def confirm(self, preview: Preview) -> bool:
        return True

    def show_progress(self, preview: Preview) -> AbstractContextManager[Observer]:
        return nullcontext(Observer())
