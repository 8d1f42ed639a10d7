"""PostgreSQL servers of other versions, if Debian's packages are installed."""

from __future__ import annotations

import os
import pwd
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.support.servers.in_memory import data_folder

_FOLDER = Path("/usr/lib/postgresql")
#: The installed major versions.
INSTALLED = sorted(path.parents[1].name for path in _FOLDER.glob("*/bin/initdb"))


@contextmanager
def debian_postgres(version: str) -> Iterator[str]:
    """A server of this version on a Unix socket; yields the URL of its `postgres` database."""
    programs = _FOLDER / version / "bin"
    folder = Path(tempfile.mkdtemp(prefix="reconciler-pg-", dir=data_folder()))
    # It refuses to run as root; its package has created a user.
    user = "postgres" if os.geteuid() == 0 else None
    if user:
        os.chown(folder, pwd.getpwnam(user).pw_uid, -1)
    data = folder / "data"

    def run(program: str, *arguments: str) -> None:
        command = [str(programs / program), "--pgdata", str(data), *arguments]
        subprocess.run(command, user=user, cwd=folder, check=True, stdout=subprocess.DEVNULL)

    try:
        run("initdb", "--auth=trust", "--username=postgres", "--no-sync", "--encoding=UTF8")
        options = f"-c listen_addresses= -c unix_socket_directories={folder} -c fsync=off"
        run("pg_ctl", "start", "--wait", "--silent", "--log", f"{folder}/log", "-o", options)
        try:
            yield f"postgresql://postgres@/postgres?host={folder}"
        finally:
            run("pg_ctl", "stop", "--wait", "--silent", "--mode=immediate")
    finally:
        shutil.rmtree(folder, ignore_errors=True)
