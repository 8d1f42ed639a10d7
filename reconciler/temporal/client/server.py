"""Temporal's server: its version, its round-trip time, its clock as start times show it."""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import Iterable, Mapping
from contextlib import suppress
from datetime import datetime, timedelta

from temporalio.api.workflowservice.v1 import (
    DescribeWorkflowExecutionResponse,
    GetSystemInfoRequest,
)
from temporalio.client import Client
from temporalio.service import RPCError

from reconciler.core.model import RunRow
from reconciler.temporal.client.calls import RPC_TIMEOUT
from reconciler.temporal.client.error_codes import NamespaceUnusable, RowError
from reconciler.temporal.client.execution_info import to_datetime
from reconciler.temporal.client.rpc import Rpc

#: Calls of which the fastest counts.
ATTEMPTS = 3
#: The lowest supported version. A description has `first_run_id` since 1.25 and `reset_run_id`
#: since 1.28 (service/history/api/describeworkflow/api.go of these tags).
LOWEST = (1, 28)


async def server_version(client: Client) -> tuple[str, timedelta] | None:
    """The server's version and the round-trip time; None if it does not say.

    The call concerns no namespace, so it uses up no namespace's rate.
    """
    method, trips, version = client.workflow_service.get_system_info, [], ""
    try:
        for _ in range(ATTEMPTS):
            started = time.perf_counter()
            info = await method(GetSystemInfoRequest(), retry=False, timeout=RPC_TIMEOUT)
            trips.append(timedelta(seconds=time.perf_counter() - started))
            version = info.server_version
    except RPCError:
        return None
    return version, min(trips)


def is_too_old(version: str) -> bool:
    """Whether the version is lower than `LOWEST`; False if it cannot be parsed."""
    found = re.match(r"v?(\d{1,9})\.(\d{1,9})", version.strip(), re.ASCII)
    return found is not None and (int(found[1]), int(found[2])) < LOWEST


async def describe_rows(
    rpc: Rpc, rows: Iterable[RunRow]
) -> dict[RunRow, DescribeWorkflowExecutionResponse]:
    """The runs that these rows name, for rows where one call shows it.

    Raises `TemporalUnusable`, but not for a namespace that only a row names.
    """

    async def described(row: RunRow) -> DescribeWorkflowExecutionResponse | None:
        its_rpc = rpc.in_namespace(row.namespace) if row.namespace else rpc
        try:
            return await its_rpc.describe(row.workflow_id, row.run_id or "")
        except NamespaceUnusable:
            if its_rpc is rpc:
                raise
            return None
        except RowError:
            return None

    given = list(rows)
    found = await asyncio.gather(*(described(row) for row in given))
    return {row: each for row, each in zip(given, found, strict=True) if each is not None}


def start_times(
    described: Mapping[RunRow, DescribeWorkflowExecutionResponse],
) -> dict[RunRow, datetime]:
    """When these runs began by Temporal's clock, where that is a possible time.

    No read-only call returns the server's time (server 1.32, all responses examined); start times
    are what reveals its clock.
    """
    times: dict[RunRow, datetime] = {}
    for row, answer in described.items():
        with suppress(RowError):
            times[row] = to_datetime(answer.workflow_execution_info.start_time)
    return times
