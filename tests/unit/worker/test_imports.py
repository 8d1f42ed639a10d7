"""Importing `reconciler.worker` must stay cheap for other people's workers."""

from __future__ import annotations

import subprocess
import sys
from importlib import resources

import pytest

HEAVY = {
    "sqlalchemy", "asyncpg", "pydantic", "apscheduler", "alembic", "typer",
    "rich", "structlog", "prometheus_client", "reconciler.postgres", "reconciler.settings",
}  # fmt: skip


@pytest.mark.parametrize(
    "program",
    [
        pytest.param("import reconciler.worker", id="imported"),
        pytest.param(
            "from reconciler.worker import *; status_activity(); report_outcome(print)",
            id="and used in a module with workflows",
        ),
    ],
)
def test_nothing_heavy_is_loaded(program: str) -> None:
    # A worker imports the SDK anyway, and the SDK imports pydantic if it is installed.
    loaded = modules_after(f"import temporalio.worker, temporalio.plugin\n{program}")

    assert loaded & HEAVY <= modules_after("import temporalio.worker, temporalio.plugin")
    assert "reconciler.worker.plugin" in loaded


def test_neither_does_the_package_of_the_settings() -> None:
    assert not modules_after("import reconciler.settings") & {"sqlalchemy", "pydantic"}


def modules_after(program: str) -> set[str]:
    script = f"{program}\nimport sys; print(*sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    return set(done.stdout.split())


def test_the_package_is_typed() -> None:
    assert resources.files("reconciler").joinpath("py.typed").is_file()
