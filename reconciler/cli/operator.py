"""The person or script that gave a `backfill` command, on stderr."""

from __future__ import annotations

from contextlib import AbstractContextManager
from typing import TYPE_CHECKING

from reconciler.cli.base import confirm
from reconciler.console.screen import print_line, screen

if TYPE_CHECKING:
    from reconciler.app.backfill import Preview
    from reconciler.core.observer import Observer


class Terminal:
    """Shows a backfill to the operator and asks, on stderr."""

    def __init__(self, *, asks: bool) -> None:
        self._asks = asks
        self._console = screen(stderr=True)

    def confirm(self, preview: Preview) -> bool:
        """Show what lies ahead, and ask unless --yes was given."""
        from reconciler.console.preview import print_preview

        print_preview(preview, self._console)
        return not (self._asks and preview.rows) or confirm(f"Write into {preview.table}?")

    def note(self, line: str) -> None:
        """Show a line."""
        print_line(self._console, line)

    def show_progress(self, preview: Preview) -> AbstractContextManager[Observer]:
        """Show a progress bar, or log lines where there is no terminal."""
        from reconciler.console.progress import show_progress

        return show_progress(self._console, preview.rows, dry_run=not preview.apply)
