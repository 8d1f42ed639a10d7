"""Runs the command at a terminal, as a person would."""

from __future__ import annotations

import asyncio
import os
import pty
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

from tests.support.commands.command import Command, Process
from tests.support.commands.forked import fork
from tests.support.polling import eventually


@dataclass
class Terminal:
    """A command at its own terminal; `seen` is what it has printed so far."""

    process: Process
    file: int
    seen: str = ""

    async def prints(self, text: str) -> None:
        async def printed() -> bool:
            self._read()
            return text in self.seen

        await eventually(printed)

    def type(self, text: str) -> None:
        os.write(self.file, text.encode())

    async def code(self) -> int:
        async def ended() -> bool:
            self._read()
            return self.process.returncode is not None

        await eventually(ended)
        assert self.process.returncode is not None
        return self.process.returncode

    def _read(self) -> None:
        try:
            self.seen += os.read(self.file, 65536).decode(errors="replace")
        except (BlockingIOError, OSError):  # nothing there, or the command has ended
            return


@asynccontextmanager
async def at_terminal(command: Command, *arguments: str) -> AsyncIterator[Terminal]:
    """Start the command at a new terminal; kill it if it still runs at the end."""
    ours, theirs = pty.openpty()
    os.set_blocking(ours, False)
    environment = {
        **command.environment,
        "PATH": os.environ["PATH"],
        "TERM": "xterm",
        "HOME": str(command.folder),
        "COLUMNS": "120",
    }
    process: Process
    if command.fresh:
        process = await asyncio.create_subprocess_exec(
            command.program,
            *arguments,
            env=environment,
            cwd=command.folder,
            stdin=theirs,
            stdout=theirs,
            stderr=theirs,
            start_new_session=True,
        )
    else:
        process = await fork(
            arguments, environment, command.folder, command.limits, terminal=theirs
        )
    os.close(theirs)
    try:
        yield Terminal(process, ours)
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
        os.close(ours)
