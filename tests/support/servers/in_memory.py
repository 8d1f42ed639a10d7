"""Where servers of tests keep their data: in memory, if there is enough of it.

To make and to drop a database are some six hundred files made and removed: on a disk that costs ten
times the CPU, though nothing is ever flushed to it.
"""

from __future__ import annotations

import os
import shutil
from pathlib import Path

_MEMORY = Path("/dev/shm")  # noqa: S108 - on Linux; what is made there has a random name
#: Bytes: a server of each of four workers, and those of their tests.
_ENOUGH = 4 * 2**30


def data_folder() -> Path | None:
    """The folder to make theirs in; None for the one of all temporary files."""
    if not (_MEMORY.is_dir() and os.access(_MEMORY, os.W_OK | os.X_OK)):
        return None
    return _MEMORY if shutil.disk_usage(_MEMORY).free >= _ENOUGH else None
