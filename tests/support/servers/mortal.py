"""Runs a command that does not outlive its parent, however the parent dies (on Linux).

A separate program, because Python with threads must not do this between fork and exec.

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
    if user:  # first, because changing the user clears the signal set below
        os.setuid(int(user))
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() == int(parent):
        os.execv(command[0], command)  # noqa: S606 - its purpose
