"""Passes as the commands run them, in this process: with the logging, without the start-up."""

from __future__ import annotations

import os
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager, redirect_stderr
from pathlib import Path
from typing import Any

from rich.console import Console

from benchmarks.stage import settings_for
from reconciler.app.app import App
from reconciler.app.backfill import Preview, Request, run_backfill
from reconciler.app.wiring import open_app
from reconciler.console.progress import show_progress
from reconciler.core.report.pass_report import PassReport
from reconciler.host.logs import configure_logs


@contextmanager
def logs_discarded() -> Iterator[None]:
    """Format log lines as by default, and write them to /dev/null."""
    with Path(os.devnull).open("w") as nowhere, redirect_stderr(nowhere):
        configure_logs("info", as_json=False)
        try:
            yield
        finally:
            configure_logs("error", as_json=False)  # for the embedded servers too


@asynccontextmanager
async def opened(url: str, **settings: Any) -> AsyncIterator[App]:
    """The app of a command with these settings."""
    async with open_app(settings_for(url, **settings), writing=True) as app:
        yield app


async def once(app: App, mode: str = "once") -> PassReport:
    """Run a pass, which must finish."""
    with logs_discarded():
        report = await app.run_pass(mode, dry_run=False)
    return _ended(report)


async def backfill(url: str, **settings: Any) -> PassReport:
    """Run `reconciler backfill --apply --restart` over every row."""
    request = Request(apply=True, restart=True)
    with logs_discarded():
        report = await run_backfill(settings_for(url, **settings), request, _Operator())
    assert report is not None
    return _ended(report)


class _Operator:
    """An operator who confirms, with a progress bar that goes to /dev/null."""

    def confirm(self, preview: Preview) -> bool:
        return preview.rows > 0

    def show_progress(self, preview: Preview) -> Any:
        return show_progress(Console(file=sys.stderr), preview.rows, dry_run=False)


def _ended(report: PassReport) -> PassReport:
    assert report.error is None, report.error
    return report
