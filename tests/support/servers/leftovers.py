"""Ends what a test process has started, even if that process is killed."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from uuid import uuid4

import psutil

#: The environment variable that marks the processes to end.
MARK = "OWNER_OF_TESTS"
#: Seconds for a clean shutdown.
GRACE = 10


def mark() -> dict[str, str]:
    """The mark, for a process that does not inherit this one's environment."""
    return {MARK: os.environ[MARK]} if MARK in os.environ else {}


@contextmanager
def ended_with_us() -> Iterator[None]:
    """End all processes started within the context when it, or this process, ends."""
    own, before = uuid4().hex, mark()
    watcher = subprocess.Popen(
        [sys.executable, "-I", __file__, own],
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        start_new_session=True,  # it survives a kill of our process group
    )
    assert watcher.stdin is not None
    os.environ[MARK] = own
    try:
        yield
    finally:
        os.environ.pop(MARK, None)
        os.environ.update(before)
        watcher.stdin.close()
        watcher.wait()


def end_all(owner: str) -> None:
    """End every process with this mark."""
    ours = [each for each in psutil.process_iter() if _is_marked(each, owner)]
    for number in (signal.SIGINT, signal.SIGKILL):  # SIGINT is PostgreSQL's "fast" shutdown
        for each in ours:
            with suppress(psutil.NoSuchProcess):
                each.send_signal(number)
        _, ours = psutil.wait_procs(ours, GRACE)


def _is_marked(process: psutil.Process, owner: str) -> bool:
    try:
        return process.environ().get(MARK) == owner
    except psutil.Error:  # it has ended, or is another user's
        return False


if __name__ == "__main__":
    sys.stdin.read()  # until the owner closes it, or dies
    end_all(sys.argv[1])
