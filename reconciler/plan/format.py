"""The lines of a plan, as JSON: what a dry run would have written, row by row.

    {"reconciler_plan": 1, "plan_id": "…", "table": "…", …}      the header
    {"id": 1, "workflow_id": "…", "verdict": "finish", …}        one line per row, in scan order
    {"end": true, "rows": 1, "finish": 1, …, "sha256": "…"}      the trailer

A file to be read may come from anywhere: whatever is wrong with a line is a `ValueError`.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from datetime import datetime
from typing import Annotated, Any, TypeAlias
from uuid import UUID, uuid4

from pydantic import AfterValidator, AwareDatetime, BeforeValidator, PlainSerializer, TypeAdapter

from reconciler import __version__
from reconciler.core.text import visible_json

#: Of the format. A reader accepts no other.
VERSION = 1
#: Bytes of a line. The longest has an error message of a million characters, the most that a
#: setting can ask for, as escapes of twelve bytes each.
MAX_LINE = 13_000_000

Json: TypeAlias = Mapping[str, Any]


def _parse_time(value: object) -> datetime | None:
    # pydantic itself would also read numbers as times.
    return datetime.fromisoformat(value) if isinstance(value, str) else None


#: A time with its zone, written by `isoformat`.
Time: TypeAlias = Annotated[
    AwareDatetime, BeforeValidator(_parse_time), PlainSerializer(datetime.isoformat)
]


@dataclass(frozen=True, slots=True, kw_only=True)
class PlanHeader:
    """Which rows a plan is about, and where it comes from."""

    plan_id: Annotated[str, AfterValidator(lambda text: str(UUID(text)))] = field(
        default_factory=lambda: str(uuid4())
    )
    #: The table, with the condition on its rows if there is one.
    table: str
    namespace: str
    #: The status values of the rows that were scanned.
    running: tuple[str | None, ...]
    made_at: Time
    reconciler_version: str = __version__
    #: The target, if reconciler.toml has any: its table may be called as that of another one is.
    target: str | None = None
    #: Which rows were scanned, as the command was asked.
    window: Json

    def to_json(self) -> Json:
        """The first line."""
        header: dict[str, Any] = _HEADER.dump_python(self)
        if self.target is None:
            del header["target"]
        return {"reconciler_plan": VERSION, **header}

    @classmethod
    def from_json(cls, header: Json) -> PlanHeader:
        """Read what `to_json` returns, except for the version. Raises `ValueError`."""
        # The defaults are for new plans; a header that lacks them is incomplete.
        absent = dict.fromkeys(each.name for each in fields(cls))
        return _HEADER.validate_python(absent | dict(header))


_HEADER = TypeAdapter(PlanHeader)


@dataclass(frozen=True, slots=True)
class Trailer:
    """The last line: the file is complete if it is there, and unchanged if its checksum fits."""

    rows: int
    #: Of these, the rows to be finished.
    finish: int
    #: Of these, the rows that the breaker holds back: all whose workflow Temporal does not know, or
    #: none. Also all of them if the dry run reached a limit before the breaker could decide.
    held_back: int

    def figures(self) -> bytes:
        """The line up to its checksum, which covers all bytes of the file up to there.

        That includes these figures: a wrong `held_back` would release rows.
        """
        return json.dumps({"end": True, **asdict(self)}).encode()[:-1]

    def line(self, sha256: str) -> bytes:
        """The whole line, with the checksum in hexadecimal digits."""
        return self.figures() + f', "sha256": "{sha256}"}}\n'.encode()


def to_line(value: Json) -> bytes:
    """A line of the file: JSON that people can read, also in a terminal."""
    return visible_json(value).encode() + b"\n"


def from_line(line: bytes) -> dict[str, Any]:
    """Read what `to_line` returns. Raises `ValueError`."""
    try:
        value = json.loads(line.decode())
    except RecursionError:
        raise ValueError("nested too deeply") from None
    if not isinstance(value, dict):
        raise ValueError("not an object")  # noqa: TRY004 - one error for whatever is read
    return value
