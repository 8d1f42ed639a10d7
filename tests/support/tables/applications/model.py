"""The description of an application's table, and of what a pass makes of its rows."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

#: What becomes of the workflows: the last one completes, and its worker reports that.
FATES = ("complete", "fail", "terminate", "wait", "report")

#: That `updated_at` was set. Until then it is a day before `created_at`.
TOUCHED = "updated_at > created_at"


@dataclass(frozen=True, kw_only=True)
class Application:
    """A table, how it is mapped, and what is expected of a pass over it."""

    #: Creates the table.
    ddl: str
    #: Inserts a running row for a workflow; $1 is a unique text.
    insert: str
    #: The workflow id of a row, in SQL.
    workflow_id: str
    #: Inserts a running row that has no workflow yet; empty if the table cannot have one.
    insert_unstarted: str = ""
    #: The environment.
    settings: Mapping[str, str]
    #: The status of a finished row, by the fate of its workflow.
    ends: Mapping[str, str]
    #: What must be true of a finished row, in SQL.
    written: str
    #: Columns that undo does not restore.
    kept: tuple[str, ...] = ()

    @property
    def table(self) -> str:
        """The table's name in SQL."""
        return f'"{self.settings["RECONCILER_TABLE"]}"'

    @property
    def run_id(self) -> str:
        """The column for the run id in SQL; empty if there is none."""
        name = self.settings.get("RECONCILER_COLUMNS__RUN_ID", "run_id")
        return name and f'"{name}"'

    @property
    def status(self) -> str:
        """The status column in SQL."""
        return self.settings.get("RECONCILER_COLUMNS__STATUS", "status")


def ends(completed: str, failed: str, terminated: str | None = None) -> Mapping[str, str]:
    """The statuses of the rows whose workflows end."""
    fates = {"complete": completed, "report": completed}
    return {**fates, "fail": failed, "terminate": terminated or failed}
