"""A namespace of Temporal: its retention, and what it can do."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from datetime import timedelta

from google.protobuf.duration_pb2 import Duration
from temporalio.api.enums.v1 import ArchivalState

from reconciler.temporal.client.error_codes import NamespaceUnusable
from reconciler.temporal.client.rpc import Rpc


@dataclass(frozen=True, slots=True)
class Namespace:
    """A namespace that exists."""

    name: str
    #: How long the server keeps a workflow after it has closed.
    retention: timedelta
    #: The names of the capability flags that are set.
    capabilities: frozenset[str]
    #: Whether the histories of closed workflows are archived, and so outlive the retention.
    archives_history: bool


async def describe_namespace(rpc: Rpc) -> Namespace:
    """The namespace as it is now. Raises `TemporalUnusable`."""
    described = await rpc.describe_namespace()
    info = described.namespace_info
    kept = described.config.workflow_execution_retention_ttl
    return Namespace(
        name=info.name,
        retention=_retention(info.name, kept),
        capabilities=frozenset(
            field.name for field, value in info.capabilities.ListFields() if value is True
        ),
        archives_history=(
            described.config.history_archival_state == ArchivalState.ARCHIVAL_STATE_ENABLED
        ),
    )


def _retention(name: str, kept: Duration) -> timedelta:
    with suppress(ValueError, OverflowError):
        if (retention := kept.ToTimedelta()) >= timedelta(0):
            return retention
    raise NamespaceUnusable(f"Temporal gives namespace {name!r} an impossible retention")
