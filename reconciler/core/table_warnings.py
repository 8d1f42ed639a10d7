"""What the operator should know about the table as a whole, beside the counts of its rows. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import Any


class WarningCode(StrEnum):
    """What a warning is about. Stable: scripts and alerts compare it."""

    #: A dry run only: a write needs columns that `migrate` adds.
    NOT_MIGRATED = "not_migrated"
    #: There are rows, and none has a status that a setting names.
    NO_CONFIGURED_STATUS = "no_configured_status"
    #: There are rows, and RECONCILER_WHERE selects none of them.
    NO_ROW_SELECTED = "no_row_selected"
    #: A status is written that the column has in another spelling.
    OTHER_SPELLING = "other_spelling"
    #: Rows that have not ended have statuses that no setting names.
    UNMAPPED_STATUS = "unmapped_status"

    #: A constraint rejects an end of every row.
    WRITE_REJECTED = "write_rejected"
    #: The table, whose name is the default, has no rows, and other tables have workflow ids.
    OTHER_TABLES = "other_tables"

    @property
    def is_idle(self) -> bool:
        """Whether a pass can do nothing at all, although there are rows."""
        return self in (WarningCode.NO_CONFIGURED_STATUS, WarningCode.NO_ROW_SELECTED)


@dataclass(frozen=True, slots=True)
class TableWarning:
    """A pass works, but probably not as it was meant to."""

    code: WarningCode
    #: What is wrong, in one line; and what to do about it.
    problem: str
    fix: str

    def __str__(self) -> str:
        return f"{self.problem}: {self.fix}"

    def as_json(self) -> Mapping[str, Any]:
        """The warning as `--json` prints it."""
        return asdict(self)
