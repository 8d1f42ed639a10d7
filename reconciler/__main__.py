"""The `reconciler` command, and `python -m reconciler`."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
from types import FrameType

from reconciler.host.streams import open_standard_streams


def main() -> None:
    """Run the command and leave at once with its exit code.

    On Python 3.11 a process that used the Temporal client can abort while the interpreter shuts
    down, with exit code 134 in place of ours (sdk-python issue 300); cron must never see that.
    """
    open_standard_streams()  # before anything could open a file or a socket of its own
    # While modules are loaded too: the first process of a container has no default for signals.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, _leave)
    from reconciler.cli.main import run  # noqa: PLC0415
    from reconciler.host.signals import signals  # noqa: PLC0415

    if not _is_loop():
        signals.install()
    code = run(sys.argv[1:])
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError):  # `run` has said so
            stream.flush()
    os._exit(code)


def _leave(number: int, _: FrameType | None) -> None:  # noqa: ARG001
    """The loop exits with 0 when asked to stop; any other command has not begun yet."""
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
