"""Which rows the main path should have written: the definition of `reconciler_missed_writes`."""

from __future__ import annotations

from datetime import timedelta

from reconciler.core.model import CloseStatus, Mode
from reconciler.core.report.request import SCAN, SWEEP

#: How `run` finds rows, see `PassRequest.found_by`.
FOUND_BY = (Mode.FEED, SWEEP, SCAN)

#: Ends that a workflow can report itself, so that the main path has missed the row. After a
#: termination or a timeout, no workflow code runs.
REPORTABLE = frozenset(
    s.value for s in (CloseStatus.COMPLETED, CloseStatus.FAILED, CloseStatus.CANCELED)
)
#: Ends that it cannot report.
UNREPORTABLE = frozenset(s.value for s in CloseStatus) - REPORTABLE

#: Within this time of the close, a worker with `report="after_close"` writes the row.
MAIN_PATH_TIME = timedelta(seconds=1)


def is_missed(temporal_status: str, found_by: str | None, drift: timedelta | None) -> bool:
    """Whether the main path should have written a row that `run` has finished.

    Not if the feed was so quick that the main path may have been about to. `drift`: from the close
    of the workflow to the write of the row.
    """
    came_first = found_by == Mode.FEED and drift is not None and drift < MAIN_PATH_TIME
    return temporal_status in REPORTABLE and not came_first
