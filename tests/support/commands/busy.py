"""Becomes a command, with a busy loop on each core beside it.

    python tests/support/commands/busy.py COMMAND...

This shows what tests take for granted about time. A loop ends as soon as the command does, in
whatever way.
"""

from __future__ import annotations

import os
import signal
import sys


def burn(owner: int) -> None:
    """Use a whole core for as long as the parent process is the owner."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # Ctrl-C ends it without a traceback
    while os.getppid() == owner:
        for _ in range(100_000):
            pass


if __name__ == "__main__":
    cores = len(os.sched_getaffinity(0)) if sys.platform == "linux" else os.cpu_count() or 1
    us = os.getpid()
    for _ in range(cores):
        if os.fork() == 0:
            burn(us)
            os._exit(0)
    os.execvp(sys.argv[1], sys.argv[1:])  # noqa: S606 - that is what it is for
