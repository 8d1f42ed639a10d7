"""Runs a command beside a busy loop on each core.

    python tests/support/commands/busy.py COMMAND...

This reveals what tests assume about time. The loops end when the command does, however it ends.
"""

from __future__ import annotations

import os
import signal
import sys


def burn(owner: int) -> None:
    """Keep a core busy for as long as the parent process is the owner."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # Ctrl-C ends it without a traceback
    while os.getppid() == owner:
        for _ in range(100_000):
            pass


if __name__ == "__main__":
    cores = len(os.sched_getaffinity(0)) if sys.platform == "linux" else os.cpu_count() or 1
    owner = os.getpid()
    for _ in range(cores):
        if os.fork() == 0:
            burn(owner)
            os._exit(0)
    os.execvp(sys.argv[1], sys.argv[1:])  # noqa: S606 - its purpose
