"""Where the tests' servers keep their data: in memory, if there is enough of it.

Each database means creating and removing some six hundred files. On a disk this takes ten times the
CPU, even though nothing is flushed.
"""

from __future__ import annotations

import os
import shutil
from pathlib import Path

_MEMORY = Path("/dev/shm")  # noqa: S108 - Linux; folders get random names
#: Bytes for the servers of four test workers, and those of their tests.
_ENOUGH = 4 * 2**30


def data_folder() -> Path | None:
    """The folder for the servers' folders; None for the default temporary folder."""
    if not (_MEMORY.is_dir() and os.access(_MEMORY, os.W_OK | os.X_OK)):
        return None
    return _MEMORY if shutil.disk_usage(_MEMORY).free >= _ENOUGH else None
