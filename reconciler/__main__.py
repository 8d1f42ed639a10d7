"""The `reconciler` command, and `python -m reconciler`."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
from types import FrameType

from reconciler.host.streams import open_standard_streams


def main() -> None:
    """Run the command and exit at once with its exit code.

    On Python 3.11 a process that used the Temporal client can abort during interpreter shutdown
    with exit code 134 (sdk-python issue 300), which cron must never see.
    """
    open_standard_streams()  # before anything opens a file or a socket
    # Also while modules load: process 1 of a container ignores signals by default.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, _leave)
    from reconciler.cli.main import run  # noqa: PLC0415
    from reconciler.host.signals import signals  # noqa: PLC0415

    if not _is_loop():
        signals.install()
    code = run(sys.argv[1:])
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError):  # `run` has reported it
            stream.flush()
    os._exit(code)


def _leave(number: int, _: FrameType | None) -> None:  # noqa: ARG001
    """Exit with 0 for the loop, which a signal always ends so; other commands were interrupted."""
    if _is_loop():
        os._exit(0)
    with contextlib.suppress(OSError):
        os.write(2, b"reconciler: interrupted\n")
    os._exit(130)


def _is_loop() -> bool:
    words = sys.argv[1:]
    while words and words[0].startswith("-"):  # options before the command
        words = words[2 if words[0] == "--config" else 1 :]
    return words[:1] == ["run"]


if __name__ == "__main__":
    main()
