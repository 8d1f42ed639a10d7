"""A namespace of Temporal: its retention, and what it can do."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from datetime import timedelta

from temporalio.api.enums.v1 import ArchivalState
from temporalio.api.workflowservice.v1 import DescribeNamespaceResponse

from reconciler.temporal.client.error_codes import NamespaceUnusable


@dataclass(frozen=True, slots=True)
class Namespace:
    """A namespace as Temporal describes it."""

    name: str
    #: How long the server keeps a workflow after it has closed.
    retention: timedelta
    #: The names of the capability flags that are set.
    capabilities: frozenset[str]
    #: Whether the histories of closed workflows are archived, and so outlive the retention.
    archives_history: bool
    #: Temporal's own id: another namespace of the same name, created later, has another.
    id: str = ""

    @classmethod
    def of(cls, described: DescribeNamespaceResponse) -> Namespace:
        """Raises `NamespaceUnusable` if the retention is not a possible duration."""
        info, config = described.namespace_info, described.config
        retention = timedelta(-1)
        with suppress(ValueError, OverflowError):
            retention = config.workflow_execution_retention_ttl.ToTimedelta()
        if retention < timedelta(0):
            raise NamespaceUnusable(
                f"Temporal gives namespace {info.name!r} an impossible retention"
            )
        return cls(
            info.name,
            retention,
            frozenset(flag.name for flag, value in info.capabilities.ListFields() if value is True),
            config.history_archival_state == ArchivalState.ARCHIVAL_STATE_ENABLED,
            info.id,
        )
