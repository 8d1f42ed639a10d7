"""The checks of what a write does to the table: the triggers, and a write that is rolled back."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from sqlalchemy.ext.asyncio import AsyncEngine

from reconciler.doctor.findings import Finding, warning
from reconciler.doctor.rules import writes as rules
from reconciler.postgres.diagnose.check_constraints import rejecting_constraints
from reconciler.postgres.diagnose.trial import try_write
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
    journalled = settings.journal
    trial = await try_write(
        engine, table, settings.ends(table.error_message_length), now, journalled=journalled
    )
    return [rules.tried(trial, await find_triggers(engine, table))]


async def check_constraints(
    engine: AsyncEngine, table: MappedTable, settings: Settings
) -> Sequence[Finding]:
    """The constraints that reject an end of every row; nothing if there are none."""
    found = await rejecting_constraints(engine, table, settings.ends(table.error_message_length))
    return [warning(rules.WRITE, each.problem, each.fix) for each in found]
