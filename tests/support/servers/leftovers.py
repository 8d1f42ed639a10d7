"""What a test process starts ends with it, also if it is killed: servers outlive their owner."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from uuid import uuid4

import psutil

#: In the environment of all that is to end.
MARK = "OWNER_OF_TESTS"
#: Seconds to shut down in order.
GRACE = 10


def mark() -> dict[str, str]:
    """For the environment of what is started with one of its own."""
    return {MARK: os.environ[MARK]} if MARK in os.environ else {}


@contextmanager
def ended_with_us() -> Iterator[None]:
    """What is started meanwhile, directly or not, ends with the context or with this process."""
    own, before = uuid4().hex, mark()
    watcher = subprocess.Popen(
        [sys.executable, "-I", __file__, own],
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        start_new_session=True,  # it survives when our group is killed
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
    for number in (signal.SIGINT, signal.SIGKILL):  # PostgreSQL takes the first for "fast"
        for each in ours:
            with suppress(psutil.NoSuchProcess):
                each.send_signal(number)
        _, ours = psutil.wait_procs(ours, GRACE)


def _is_marked(process: psutil.Process, owner: str) -> bool:
    try:
        return process.environ().get(MARK) == owner
    except psutil.Error:  # it has ended, or is somebody else's
        return False


if __name__ == "__main__":
    sys.stdin.read()  # until the owner closes it, or is gone
    end_all(sys.argv[1])
