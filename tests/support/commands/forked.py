"""Commands forked from a process that has already imported everything: see `forker`.

Starting Python and importing everything costs 0.7 s of CPU, a fork 0.02 s. The fork still has its
own arguments, environment, folder and streams, and can be signalled and waited for. There is one
forker for each set of variables that a process needs from its start, e.g. for a wrong clock.
"""

from __future__ import annotations

import asyncio
import atexit
import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from functools import cache
from pathlib import Path

#: Variables that a process reads when it starts, so the forker must have them.
FROM_THE_START = ("LD_PRELOAD", "FAKETIME_NO_CACHE", "FAKETIME_DONT_FAKE_MONOTONIC")


class Forked:
    """The part of `asyncio.subprocess.Process` that tests use."""

    def __init__(
        self,
        pid: int,
        out: asyncio.StreamReader,
        err: asyncio.StreamReader,
        code: asyncio.Task[int],
    ) -> None:
        self.pid = pid
        self.stdout, self.stderr = out, err
        self._code = code

    @property
    def returncode(self) -> int | None:
        return self._code.result() if self._code.done() else None

    def send_signal(self, number: int) -> None:
        with suppress(ProcessLookupError):  # it has just ended
            if self.returncode is None:
                os.kill(self.pid, number)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)

    async def wait(self) -> int:
        return await asyncio.shield(self._code)

    async def communicate(self) -> tuple[bytes, bytes]:
        out, err = await asyncio.gather(self.stdout.read(), self.stderr.read())
        await self.wait()
        return out, err


async def fork(
    arguments: Sequence[str],
    environment: Mapping[str, str],
    folder: Path,
    limits: Mapping[str, float],
    stops: Sequence[tuple[int, str, int]] = (),
    terminal: int | None = None,
) -> Forked:
    """Fork a command.

    `limits` are set in its modules before it starts; `stops`: see `forker.stop_at`. `terminal` is a
    file for all three standard streams.
    """
    order = {
        "arguments": arguments,
        "environment": environment,
        "folder": str(folder),
        "limits": limits,
        "stops": stops,
    }
    pipes = [os.pipe() for _ in range(3)]
    nothing = os.open(os.devnull, os.O_RDONLY)
    theirs = [nothing, *(write for _, write in pipes)]
    streams = theirs[:3] if terminal is None else [terminal] * 3
    start = [(name, environment[name]) for name in FROM_THE_START if name in environment]
    try:
        socket.send_fds(_forker(*start), [json.dumps(order).encode()], [*streams, theirs[3]])
    finally:
        for file in theirs:
            os.close(file)
    out, err, answers = [await _reader(read) for read, _ in pipes]
    pid = int(await answers.readline())
    return Forked(pid, out, err, asyncio.create_task(_code(answers)))


async def _code(answers: asyncio.StreamReader) -> int:
    return int(await answers.read())


async def _reader(file: int) -> asyncio.StreamReader:
    reader = asyncio.StreamReader()
    await asyncio.get_running_loop().connect_read_pipe(
        lambda: asyncio.StreamReaderProtocol(reader), os.fdopen(file, "rb", 0)
    )
    return reader


@cache
def _forker(*start: tuple[str, str]) -> socket.socket:
    """The socket of the forker with these variables, which is started when it is first needed."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with theirs:
        forker = subprocess.Popen(
            [sys.executable, "-P", Path(__file__).with_name("forker.py"), str(theirs.fileno())],
            # Each command sets its own locale and everything else.
            env={"PATH": os.environ["PATH"], **dict(start)},
            pass_fds=[theirs.fileno()],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            start_new_session=True,  # Ctrl-C is for the tests, which end the commands
        )

    @atexit.register
    def end() -> None:
        ours.close()
        forker.wait()

    return ours
