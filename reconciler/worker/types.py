"""What the activity and its writer share. Light: it is imported by workflow modules, too."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, TypeAlias

if TYPE_CHECKING:
    from sqlalchemy.ext.asyncio import AsyncEngine

    #: An engine of the application's, or what makes one when it is first needed.
    EngineSource: TypeAlias = AsyncEngine | Callable[[], AsyncEngine]


@dataclass(frozen=True, slots=True)
class OwnRow:
    """What tells the row of a workflow from others."""

    workflow_id: str
    #: The first run of its chain.
    run_id: str
    namespace: str | None
    #: When that run started. None: not known, and no row without a run id is taken.
    start_time: datetime | None
