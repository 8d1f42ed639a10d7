"""The lines of a plan, as JSON: what a dry run would have written, row by row.

    {"reconciler_plan": 1, "plan_id": "…", "table": "…", …}      the header
    {"id": 1, "workflow_id": "…", "verdict": "finish", …}        a line per row, as it was scanned
    {"end": true, "rows": 1, "finish": 1, …, "sha256": "…"}      the trailer

What is read may come from anywhere: it is checked value by value, and anything odd is a
`ValueError` or a `KeyError`.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from types import NoneType
from typing import Any, TypeAlias
from uuid import UUID, uuid4

from reconciler import __version__
from reconciler.core.text import visible_json

#: Of the format. A reader takes no other.
VERSION = 1
#: Bytes of a line. The longest has an error message of a million characters, which is the most
#: that can be set to be kept, as escapes of twelve bytes each.
MAX_LINE = 13_000_000

Json: TypeAlias = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class PlanHeader:
    """What a plan is a plan of, and where it comes from."""

    #: The table, and which of its rows if not all.
    table: str
    namespace: str
    #: The status values of the rows that were looked at.
    running: tuple[str, ...]
    made_at: datetime
    #: Which rows were looked at, in the words of the command.
    window: Json
    plan_id: str = field(default_factory=lambda: str(uuid4()))
    reconciler_version: str = __version__

    def to_json(self) -> Json:
        """The first line."""
        return {
            "reconciler_plan": VERSION,
            "plan_id": self.plan_id,
            "table": self.table,
            "namespace": self.namespace,
            "running": list(self.running),
            "made_at": self.made_at.isoformat(),
            "reconciler_version": self.reconciler_version,
            "window": self.window,
        }

    @classmethod
    def from_json(cls, header: Json) -> PlanHeader:
        """From what `to_json` made of it. The version is the caller's to look at first."""
        made_at = time(header, "made_at")
        if made_at is None:
            raise ValueError("made_at")
        return cls(
            table=take(header, "table", str),
            namespace=take(header, "namespace", str),
            running=tuple(map(str, take(header, "running", list))),
            made_at=made_at,
            window=take(header, "window", dict),
            plan_id=str(UUID(take(header, "plan_id", str))),
            reconciler_version=take(header, "reconciler_version", str),
        )


@dataclass(frozen=True, slots=True)
class Trailer:
    """The last line: it is there, so nothing is missing; it is right, so nothing was changed."""

    rows: int
    #: Of these, the rows to be finished.
    finish: int
    #: Of these, what the breaker holds back: all whose workflow Temporal does not know, or none.
    #: So too where the dry run ended at a limit before the breaker could tell.
    held_back: int

    def figures(self) -> bytes:
        """The line up to its checksum, which is of all bytes of the file up to there.

        Its own figures are among them: a wrong `held_back` would set rows free.
        """
        figures = {"end": True, "rows": self.rows, "finish": self.finish}
        return json.dumps({**figures, "held_back": self.held_back}).encode()[:-1]

    def line(self, sha256: str) -> bytes:
        """The whole line, with the checksum in hexadecimal digits."""
        return self.figures() + f', "sha256": "{sha256}"}}\n'.encode()


def to_line(value: Json) -> bytes:
    """A line of the file: JSON that people can read, and look at in a terminal."""
    return visible_json(value).encode() + b"\n"


def from_line(line: bytes) -> Json:
    """What `to_line` has made a line of. Raises `ValueError`."""
    try:
        value = json.loads(line.decode())
    except RecursionError:
        raise ValueError("nested too deeply") from None
    if not isinstance(value, dict):
        raise ValueError("not an object")  # noqa: TRY004 - one error for whatever is read
    return value


def take(of: Json, name: str, *kinds: type) -> Any:
    """A value of exactly these kinds: to Python, true is a number too."""
    if type(value := of[name]) not in kinds:
        raise ValueError(name)
    return value


def time(of: Json, name: str) -> datetime | None:
    """A time with its zone."""
    text = take(of, name, str, NoneType)
    if text is None:
        return None
    read = datetime.fromisoformat(text)
    if read.tzinfo is None:
        raise ValueError(name)
    return read
