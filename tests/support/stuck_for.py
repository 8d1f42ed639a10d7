"""Stuck rows for tests."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any

from reconciler.core.stuck.condition import Reason, StuckRow
from tests.support.factories import NOW

HOUR = timedelta(hours=1)


def stuck_for(hours: int = 1, **fields: Any) -> StuckRow:
    """A row whose activity keeps failing, for some hours."""
    given = StuckRow(
        row_id=hours,
        workflow_id=f"zone-{hours}",
        run_id=f"run-{hours}",
        workflow_type="ProvisionZone",
        reason=Reason.ACTIVITY_RETRYING,
        text=f"create_zone: QuotaExceeded: zone limit is 50 (attempt {hours})",
        cause="create_zone: QuotaExceeded: zone limit is N",
        since=NOW - hours * HOUR,
        seen=NOW,
    )
    return replace(given, **fields)
