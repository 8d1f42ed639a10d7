"""`reconciler run` as a child process, with the settings of the demo and no others."""

from __future__ import annotations

import asyncio
import os
import sys
from asyncio.subprocess import DEVNULL, Process
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress

from reconciler.core.errors import ReconcilerError

#: Seconds for the first pass to end.
PATIENCE = 60.0
_SETTINGS = ("RECONCILER_", "DATABASE_URL", "TEMPORAL_", "PG", "XDG_CONFIG_HOME")


def forget_settings() -> None:
    """Remove what is set around the demo from this process and its children, for good."""
    for name in [name for name in os.environ if name.upper().startswith(_SETTINGS)]:
        del os.environ[name]


@asynccontextmanager
async def running_loop(settings: Mapping[str, str]) -> AsyncIterator[Process]:
    """Run the loop in the current folder; ready after its first pass, which serves its page.

    Raises `ReconcilerError` if it does not get there: it has printed why.
    """
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "reconciler", "run"),
        env={**os.environ, "HOME": os.getcwd(), **settings},  # noqa: PTH109
        stdin=DEVNULL,
        stdout=DEVNULL,
        start_new_session=True,  # at Ctrl-C it ends when we say so, before the servers
    )
    try:
        await _wait_until_ready(process, int(settings["RECONCILER_HTTP_PORT"]))
        yield process
    finally:
        await _end(process)


async def _wait_until_ready(process: Process, port: int) -> None:
    try:
        async with asyncio.timeout(PATIENCE):
            while process.returncode is None and not await _is_ready(port):
                await asyncio.sleep(0.1)
    except TimeoutError:
        raise ReconcilerError(f"the loop was not ready after {PATIENCE:.0f} s") from None
    check(process)


def check(process: Process) -> None:
    """Raise `ReconcilerError` if the loop has ended."""
    if process.returncode is not None:
        raise ReconcilerError(f"the loop has ended with exit code {process.returncode}")


async def _is_ready(port: int) -> bool:
    try:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
    except OSError:
        return False
    try:
        writer.write(b"GET /readyz HTTP/1.0\r\n\r\n")
        return b" 200 " in await reader.readline()
    finally:
        writer.close()


async def _end(process: Process) -> None:
    with suppress(ProcessLookupError):
        process.terminate()
    try:
        await process.wait()  # ten seconds at most
    except asyncio.CancelledError:  # Ctrl-C again
        with suppress(ProcessLookupError):
            process.kill()
        raise
