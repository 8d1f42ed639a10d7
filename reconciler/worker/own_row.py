"""Which row is that of a workflow. Apart from the writer, so that it is light to import."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime


@dataclass(frozen=True, slots=True)
class OwnRow:
    """What tells the row of a workflow from others."""

    workflow_id: str
    #: The first run of its chain.
    run_id: str
    namespace: str | None
    #: When that run started. None: not known, and no row without a run id is taken.
    start_time: datetime | None
