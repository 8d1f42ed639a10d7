"""The report of a workflow's end, as its workflow sends it to the activity.

It travels as one JSON string: a payload converter that knows neither dates nor None accepts it,
and a payload codec gets one payload, as it does for any result.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, fields
from datetime import datetime

#: The activity's name. Part of every history that contains a report: never change it.
ACTIVITY = "update_workflow_execution_status"
#: In place of the name of a target: the only one that the process has which writes the row.
ONLY = ""


@dataclass(frozen=True, slots=True)
class EndReport:
    """How a workflow ended, and which row is its own."""

    workflow_id: str
    #: The name of a `CloseStatus`, or a value of the status column.
    status: str
    #: The first run of the chain.
    run_id: str | None
    #: When the reporting run started, or the first run of the chain.
    start_time: datetime | None
    error_message: str | None = None
    #: `error_message` with encoded messages decoded, if there are any.
    decoded_message: str | None = None
    #: What `status_of` returned: written in place of the column's value for `status`.
    value: str | None = None
    #: The target that the row is in; None: the only one. Versions before targets ignore it.
    target: str | None = None

    def to_json(self) -> str:
        """The activity's argument."""
        values = {name: value for name, value in asdict(self).items() if value is not None}
        return json.dumps(values, ensure_ascii=False, default=lambda time: time.isoformat())

    def payload_size(self) -> int:
        """Bytes of its payload, as the SDK's own converter makes it."""
        return len(json.dumps(self.to_json()))

    @classmethod
    def from_json(cls, text: str) -> EndReport:
        """Parse an argument; fields that a later version has added are ignored.

        Raises `ValueError` if it is not a report.
        """
        values = json.loads(text)
        known = {field.name for field in fields(cls)}
        try:
            given = {name: value for name, value in values.items() if name in known}
            if "start_time" in given:
                given["start_time"] = datetime.fromisoformat(given["start_time"])
            return cls(**given)
        except (AttributeError, TypeError) as error:
            raise ValueError(f"not a report: {error}") from None
