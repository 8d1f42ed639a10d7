"""Runs the command in its own process, as cron would."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.support.commands.forked import Forked, fork
from tests.support.polling import deadline
from tests.support.servers.leftovers import mark

RECONCILER = Path(sys.executable).parent / "reconciler"

Process = asyncio.subprocess.Process | Forked


@dataclass(frozen=True)
class Result:
    code: int
    out: str
    err: str

    @property
    def json(self) -> dict[str, Any]:
        """Standard output, which must be one JSON object and nothing else."""
        assert self.out.count("\n") == 1, self.out
        parsed: dict[str, Any] = json.loads(self.out)
        return parsed


@dataclass(frozen=True)
class Command:
    """`reconciler`, with only the environment that the test sets."""

    environment: Mapping[str, str]
    folder: Path
    program: Path = RECONCILER
    #: Start the program instead of forking it from a process that has already loaded it. This takes
    #: forty times the CPU; only tests of the program or of its startup need it.
    fresh: bool = False
    #: Variables of reconciler's modules to change before it starts, by dotted name, e.g. a time
    #: limit in seconds; not for a fresh process.
    limits: Mapping[str, float] = field(default_factory=dict)
    #: Signals that it sends itself, see `forker.stop_at`; not for a fresh process.
    stops: Sequence[tuple[int, str, int]] = ()

    async def __call__(self, *arguments: str, **variables: str) -> Result:
        return await self.result(await self.start(*arguments, **variables))

    async def start(self, *arguments: str, **variables: str) -> Process:
        """Start the command; pass the process to `result` at the end."""
        environment = {
            "PATH": os.environ["PATH"],
            "HOME": str(self.folder),
            "COLUMNS": "120",
            **mark(),
            **self.environment,
            **variables,
        }
        if not self.fresh and self.program == RECONCILER:
            return await fork(arguments, environment, self.folder, self.limits, self.stops)
        return await asyncio.create_subprocess_exec(
            self.program,
            *arguments,
            env=environment,
            cwd=self.folder,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )

    @staticmethod
    async def result(process: Process) -> Result:
        """Wait for the end of the process; kill it if it does not end."""
        try:
            async with deadline():
                out, err = await process.communicate()
        except BaseException:
            process.kill()
            if not isinstance(process, Forked):
                # A server that it started may outlive it and keep its streams open.
                process._transport.close()  # type: ignore[attr-defined]
            await process.wait()
            raise
        assert process.returncode is not None
        return Result(process.returncode, out.decode(), err.decode())
