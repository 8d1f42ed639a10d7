"""`backfill --distribute` and `--cancel`: a backfill by the workers of `reconciler worker`."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from reconciler.cli.base import OK, conclude
from reconciler.cli.operator import Terminal
from reconciler.console.screen import screen
from reconciler.host.signals import signals

if TYPE_CHECKING:
    from reconciler.app.backfill import Request
    from reconciler.core.report.pass_report import PassReport
    from reconciler.settings.model import Settings


async def distributed(
    settings: Settings, request: Request, workers: int, terminal: Terminal
) -> PassReport | None:
    """Start it, or follow the one that is under way; see `run_distributed`."""
    from reconciler.fleet.command import run_distributed

    return await run_distributed(settings, request, workers, terminal)


def stop_distributed(settings: Settings, *, as_json: bool) -> int:
    """Stop the one that is under way, and print what it has done; returns the exit code."""
    from reconciler.console.report import print_report
    from reconciler.fleet.command import cancel_distributed

    report = signals.run(partial(cancel_distributed, settings, Terminal(asks=False)))
    shows = report.progress is not None  # unless it was aborted before its beginning
    show = partial(print_report, report, screen()) if shows else lambda: None
    code = conclude(report, settings, show, as_json=as_json)
    return OK if report.stopped and not signals.asked else code
