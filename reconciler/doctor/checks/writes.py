"""The checks of what a write does to the table: the triggers, and a write that is rolled back."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from sqlalchemy.ext.asyncio import AsyncEngine

from reconciler.core.model import CloseStatus
from reconciler.core.verdict import MissingPolicy
from reconciler.doctor.findings import Finding
from reconciler.doctor.rules import writes as rules
from reconciler.postgres.diagnose.trial import End, try_write
from reconciler.postgres.diagnose.triggers import find_triggers
from reconciler.postgres.table.mapping import MappedTable
from reconciler.settings.model import Settings


async def check_triggers(engine: AsyncEngine, table: MappedTable) -> Sequence[Finding]:
    """The triggers that a write can fire; nothing if there are none."""
    found = await find_triggers(engine, table)
    return [rules.triggers(found, table.identity)] if found else []


async def check_write(
    engine: AsyncEngine, table: MappedTable, settings: Settings, now: datetime
) -> Sequence[Finding]:
    """Try each end on one running row, and roll it back. `engine` must not be read-only."""
    trial = await try_write(engine, table, _ends(table, settings, now), journalled=settings.journal)
    return [rules.tried(trial, await find_triggers(engine, table))]


def _ends(table: MappedTable, settings: Settings, now: datetime) -> Sequence[End]:
    """One end per value that a pass writes, with the longest message that it may have."""
    values = settings.status_values()
    limit = settings.message_limit(table.error_message_length)
    ends = dict[str, End]()
    for status in CloseStatus:
        if (value := values.of(status)) is None:
            continue
        message = None if status is CloseStatus.COMPLETED else "x" * limit
        ends.setdefault(value, End(value, value, now, message, status.value))
    if settings.missing is MissingPolicy.FAIL:
        name = f"{values.failed} (not in Temporal)"
        ends[name] = End(name, values.failed, None, "x" * min(limit, 60), "NOT_FOUND")
    return list(ends.values())
