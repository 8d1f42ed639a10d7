"""Runs a command that ends with the process that started it, however that dies (on Linux).

A program of its own: Python may not do this between fork and exec once it has threads.

    python mortal.py PARENT_PID USER_ID COMMAND...        USER_ID may be empty
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys

PR_SET_PDEATHSIG = 1

if __name__ == "__main__":
    parent, user, *command = sys.argv[1:]
    if user:  # first: a change of user would undo the other
        os.setuid(int(user))
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() == int(parent):
        os.execv(command[0], command)  # noqa: S606 - that is what it is for
