"""What a report says, as the one argument of its activity.

One plain string of JSON: a payload converter that knows neither dates nor None takes it, and a
payload codec sees one payload, as it does for any result.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, fields


@dataclass(frozen=True, slots=True)
class Argument:
    """The report of a workflow's end."""

    workflow_id: str
    #: A `CloseStatus` by name, or a value of the status column.
    status: str
    #: The first run of the chain.
    run_id: str | None
    #: When the workflow started, in ISO 8601.
    start_time: str | None
    error_message: str | None = None
    decoded_message: str | None = None

    def packed(self) -> str:
        """The argument as it travels."""
        said = {name: value for name, value in asdict(self).items() if value is not None}
        return json.dumps(said, ensure_ascii=False)

    def size(self) -> int:
        """Bytes of its payload, by the SDK's own converter."""
        return len(json.dumps(self.packed()))

    @classmethod
    def unpacked(cls, text: str) -> Argument:
        """The argument as it was; what a later version adds is ignored.

        Raises `ValueError` if it is not one.
        """
        said = json.loads(text)
        known = {field.name for field in fields(cls)}
        try:
            return cls(**{name: value for name, value in said.items() if name in known})
        except (AttributeError, TypeError) as error:
            raise ValueError(f"no report: {error}") from None
