"""The namespace a pass works in."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta

from temporalio.api.enums.v1 import ArchivalState

from reconciler.temporal.rpc import Rpc


@dataclass(frozen=True, slots=True)
class Namespace:
    """The namespace a pass works in, proven to exist."""

    name: str
    #: How long the server keeps a workflow after it has closed.
    retention: timedelta
    #: What the server can do there, by the names of its capability flags.
    capabilities: frozenset[str]
    #: Whether the histories of closed workflows are archived, and outlive the retention there.
    archives_history: bool


async def describe_namespace(rpc: Rpc) -> Namespace:
    """The namespace as it is now; proves that Temporal can be used. Raises `TemporalUnusable`."""
    described = await rpc.describe_namespace()
    info = described.namespace_info
    return Namespace(
        name=info.name,
        retention=described.config.workflow_execution_retention_ttl.ToTimedelta(),
        capabilities=frozenset(
            field.name for field, value in info.capabilities.ListFields() if value is True
        ),
        archives_history=(
            described.config.history_archival_state == ArchivalState.ARCHIVAL_STATE_ENABLED
        ),
    )
