"""`reconciler demo --keep`: the loop and its page beside a steady application, until Ctrl-C."""

from __future__ import annotations

import asyncio
import signal
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import chdir, contextmanager

from rich.console import Console

from reconciler.console.screen import print_line
from reconciler.demo.application import Application, worker
from reconciler.demo.loop_process import check, forget_settings, running_loop
from reconciler.demo.servers import free_port
from reconciler.demo.shell import exports
from reconciler.demo.story import STAYS_OPEN, step
from reconciler.demo.traffic import WITH_PLUGIN, start_stuck, steady_traffic
from reconciler.worker import ReconcilerPlugin

#: Of the page, unless it is taken.
PAGE_PORT = 8080
#: Passes describe every row, and often: there are few, and what is stuck is to show at once.
_LOOP = {
    "RECONCILER_INTERVAL": "10s",
    "RECONCILER_FULL_SWEEP_INTERVAL": "0",
    "RECONCILER_JOURNAL_RETENTION": "2d",
    "RECONCILER_LOG_LEVEL": "error",
}
FILLS_UP = (
    "The page fills up: most of what is stuck shows at once, a workflow without a worker after two "
    "minutes."
)
_TRY = (
    ("reconciler stuck", "why is it still running?"),
    (f"temporal workflow terminate -w {STAYS_OPEN}", "its row is repaired within seconds"),
    (f"reconciler explain {STAYS_OPEN}", "what Temporal and the table say"),
    ("reconciler undo --last", "its rows run again, and are repaired again"),
)


async def keep_running(console: Console, application: Application, url: str, ui: str) -> None:
    """Run the loop and the traffic until cancelled. Raises `ReconcilerError` if the loop ends."""
    console.print()
    console.print(step(4, "The loop beside steady traffic, and beside trouble:"))
    console.print()
    folder = tempfile.TemporaryDirectory(prefix="reconciler-demo-")
    with _ended_with_the_terminal(), folder as home, chdir(home):  # without a reconciler.toml
        forget_settings()
        plugin = ReconcilerPlugin(application.engine)
        async with worker(application.client, WITH_PLUGIN, plugins=[plugin]):
            await _run(console, application, url, ui)


async def _run(console: Console, application: Application, url: str, ui: str) -> None:
    await application.shorten_retention()  # its server keeps everything in memory
    await start_stuck(application)
    port = str(free_port(PAGE_PORT))
    servers = {"DATABASE_URL": url, "TEMPORAL_ADDRESS": application.temporal["target_host"]}
    web = {"RECONCILER_HTTP_PORT": port, "RECONCILER_TEMPORAL_UI": ui}
    async with running_loop({**_LOOP, **servers, **web}) as loop:
        _say_where(console, f"http://127.0.0.1:{port}/", ui, exports(**servers))
        async for _ in steady_traffic(application):
            check(loop)


def _say_where(console: Console, page: str, ui: str, exported: Sequence[str]) -> None:
    print_line(console, "  The page      ", (page, "cyan"))
    print_line(console, "  Temporal's UI ", (ui, "cyan"))
    console.print(f"\n{FILLS_UP}\n\nIn another terminal:\n")
    for line in exported:
        print_line(console, f"  {line}", style="cyan")
    width = max(len(typed) for typed, _ in _TRY)
    for typed, shows in _TRY:
        print_line(console, (f"  {typed:{width}}", "cyan"), (f"  # {shows}", "dim"))
    console.print("\nCtrl-C ends it all, and leaves nothing behind.")


@contextmanager
def _ended_with_the_terminal() -> Iterator[None]:
    """End as at Ctrl-C when the terminal is closed; with `nohup`, go on."""
    task, loop = asyncio.current_task(), asyncio.get_running_loop()
    if task is None or signal.getsignal(signal.SIGHUP) is not signal.SIG_DFL:
        yield
        return
    loop.add_signal_handler(signal.SIGHUP, task.cancel)
    try:
        yield
    finally:
        loop.remove_signal_handler(signal.SIGHUP)
