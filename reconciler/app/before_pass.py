"""What is said before a pass: how it is connected, and what is odd about the table."""

from __future__ import annotations

from collections.abc import Iterator

import structlog
from sqlalchemy.ext.asyncio import AsyncEngine

from reconciler.core.table_warnings import TableWarning, WarningCode
from reconciler.postgres.diagnose.check_constraints import rejecting_constraints
from reconciler.postgres.diagnose.review import review_values
from reconciler.postgres.table.mapping import MappedTable
from reconciler.settings.model import Settings
from reconciler.temporal.client.namespace import Namespace

log = structlog.get_logger(__name__)


def log_connected(target: str, namespace: Namespace, table: MappedTable) -> None:
    """Log what a pass is connected to."""
    log.debug(
        "connected",
        temporal=target,
        namespace=namespace.name,
        retention=str(namespace.retention),
        capabilities=sorted(namespace.capabilities),
        table=table.full_name,
    )
    if table.mapping.names.created_at is None:
        log.info("created_at_missing", hint="rows that Temporal does not know are never finished")


async def review_table(
    engine: AsyncEngine, table: MappedTable, settings: Settings
) -> list[TableWarning]:
    """What is suspicious about the table. Never fails: then it does without the values."""
    warnings = [*_not_migrated(table)]
    try:
        statuses, chosen = settings.status_values(), settings.names_table
        _, suspicious = await review_values(engine, table, statuses, chosen=chosen)
        warnings += suspicious
    except Exception as error:  # noqa: BLE001 - a pass does not depend on it
        log.debug("values_not_reviewed", error=repr(error))
    try:
        ends = settings.ends(table.error_message_length)
        warnings += await rejecting_constraints(engine, table, ends)
    except Exception as error:  # noqa: BLE001 - likewise
        log.debug("values_not_reviewed", error=repr(error))
    return warnings


def _not_migrated(table: MappedTable) -> Iterator[TableWarning]:
    """A warning if a write needs columns that do not exist yet; a dry run does without them."""
    if lacking := [name for name in table.mapping.names.filled if name not in table.table.c]:
        yield TableWarning(
            WarningCode.NOT_MIGRATED,
            f"{table.full_name} has no column {', '.join(lacking)} yet",
            "run `reconciler migrate`, which adds what is missing, before the first pass",
        )
