"""The `reconciler` command, and `python -m reconciler`."""

from __future__ import annotations

import contextlib
import os
import sys

from reconciler.cli import run


def main() -> None:
    """Run the command and leave at once with its exit code.

    On Python 3.11 a process that used the Temporal client can abort while the interpreter shuts
    down, with exit code 134 in place of ours (sdk-python issue 300); cron must never see that.
    """
    code = run(sys.argv[1:])
    for stream in (sys.stdout, sys.stderr):
        if stream is not None:  # closed by the caller
            with contextlib.suppress(BrokenPipeError):  # the reader went away, e.g. `| head`
                stream.flush()
    os._exit(code)


if __name__ == "__main__":
    main()
