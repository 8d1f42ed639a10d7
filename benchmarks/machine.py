"""The machine and the versions that were measured."""

from __future__ import annotations

import os
import platform
from collections.abc import Mapping
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

import asyncpg
import psutil
from temporalio.api.workflowservice.v1 import GetSystemInfoRequest

from benchmarks.stage import Stage
from reconciler import __version__

_LIBRARIES = ("temporalio", "sqlalchemy", "asyncpg")


async def describe(stage: Stage) -> Mapping[str, str]:
    """The date, the machine and the versions, by the name of their row in the page."""
    connection = await asyncpg.connect(stage.postgres)
    postgres = await connection.fetchval("SHOW server_version")
    await connection.close()
    service = stage.temporal.workflow_service
    temporal = (await service.get_system_info(GetSystemInfoRequest())).server_version
    libraries = ", ".join(f"{name} {version(name)}" for name in _LIBRARIES)
    memory = psutil.virtual_memory().total / 2**30
    return {
        "measured": f"{datetime.now(UTC):%Y-%m-%d}",
        "machine": f"{os.cpu_count()} cores, {_processor()}, {memory:.0f} GiB memory, "
        f"{platform.system()}; client and both servers on it",
        "load before": f"{os.getloadavg()[0]:.1f} (1 minute)",
        "reconciler": __version__,
        "Python": f"{platform.python_version()}, {libraries}",
        "servers": f"Temporal {temporal} (dev server, in memory, its quotas lifted), "
        f"PostgreSQL {postgres} (its defaults, on a Unix socket)",
    }


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        lines = []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()
