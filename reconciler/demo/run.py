"""The demo: start servers, run a sample application, show what one pass repairs."""

from __future__ import annotations

import logging

from pydantic import SecretStr
from rich.console import Console

from reconciler.app.setup import migrate
from reconciler.app.wiring import open_app
from reconciler.console.report import print_report
from reconciler.console.screen import print_line, screen
from reconciler.core.model import Mode
from reconciler.core.report.pass_report import PassOutcome
from reconciler.demo.application import PAUSABLE, Application, worker
from reconciler.demo.keep import keep_running
from reconciler.demo.servers import free_port, postgres_server, temporal_server
from reconciler.demo.shell import command
from reconciler.demo.story import TASK_QUEUE, TENANTS, print_rows, provision, step
from reconciler.host.logs import configure_logs
from reconciler.postgres.connection.engine import using_engine
from reconciler.settings.model import Settings

#: Of Temporal's UI, unless it is taken.
UI_PORT = 8233


async def run_demo(*, keep: bool) -> int:
    """Run the demo; return 0 if the pass repaired every row that it should."""
    configure_logs("warning", as_json=False)
    # The worker would log failures that are part of the story.
    logging.getLogger("temporalio").setLevel(logging.CRITICAL)
    console = screen()
    console.print(step(1, "Starting PostgreSQL and Temporal …"))
    ui_port = free_port(UI_PORT) if keep else None
    with postgres_server() as url:
        async with temporal_server(*PAUSABLE, ui_port=ui_port) as environment:
            settings = Settings(database_url=SecretStr(url))
            await migrate(settings)
            client = environment.client
            async with worker(client, TASK_QUEUE), using_engine(url) as engine:
                application = Application(client, engine)
                code = await _story(console, settings, application)
                if ui_port is not None:
                    await keep_running(console, application, url, f"http://127.0.0.1:{ui_port}/")
    console.print()
    print_line(console, "Next, the loop and its page: ", (f"{command()} demo --keep", "cyan"))
    return code


async def _story(console: Console, settings: Settings, application: Application) -> int:
    story = (
        f"An application provisions {len(TENANTS)} tenants: a workflow and a row each. "
        "None of the workflows writes its outcome into its row."
    )
    console.print(step(2, story), soft_wrap=not console.is_terminal)
    await provision(application)
    console.print("\nThe table now, and what really happened:\n")
    await print_rows(console, application.engine, with_story=True)

    console.print()
    console.print(step(3, "One pass of the reconciler:"))
    console.print()
    async with open_app(settings, writing=True, temporal=application.temporal) as app:
        report = await app.run_pass(Mode.ONCE, dry_run=False)
    print_report(report, console)
    console.print("\nThe table after it, with Temporal's close times and failures:\n")
    await print_rows(console, application.engine, with_story=False)
    repaired = report.outcome is PassOutcome.OK and report.changed == len(TENANTS) - 1
    return 0 if repaired else 1
