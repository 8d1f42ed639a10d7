"""Writes the progress of a pass as JSON for `reconciler.passes`, and reads it.

Ids are numbers or text in JSON; the type of the table's key decides which text is a UUID.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any
from uuid import UUID

from pydantic import TypeAdapter

from reconciler.core.errors import DatabaseUnfit
from reconciler.core.model import RowId
from reconciler.core.report.pass_report import PassReport
from reconciler.core.report.progress import Progress, Span
from reconciler.core.report.tally import Tally
from reconciler.core.text import one_line
from reconciler.postgres.connection.encoding import ASCII
from reconciler.postgres.table.keys import has_bytes

_Json = Mapping[str, Any]
_ReadId = Callable[[Any], RowId]

_TALLY = TypeAdapter(Tally)
_SPAN = TypeAdapter(Span)


def to_json(progress: Progress, done: Tally) -> _Json:
    """The spans that are left, and the tally of what is done."""
    return {
        "rest": progress.rest and _span_to_json(progress.rest),
        "to_recheck": [_span_to_json(span) for span in progress.to_recheck],
        "rechecking": progress.rechecking,
        "done": _TALLY.dump_python(done, mode="json"),
    }


def restore(report: PassReport, cursor: _Json, read_id: _ReadId) -> None:
    """Set the progress and the tally of a report to those of the pass that it resumes.

    Raises `DatabaseUnfit` if a version with another format recorded them.
    """
    try:
        report.progress = Progress(
            rest=cursor["rest"] and _span_from_json(cursor["rest"], read_id),
            to_recheck=[_span_from_json(span, read_id) for span in cursor["to_recheck"]],
            rechecking=cursor["rechecking"],
        )
        report.done = _TALLY.validate_python(cursor["done"])
    except (KeyError, TypeError, ValueError) as error:
        why = one_line(f"{type(error).__name__}: {error}", 200)
        raise DatabaseUnfit(
            f"cannot resume pass {report.pass_id}: another version of reconciler has recorded "
            f"how far it came, or the key had another type ({why})",
            "use --restart",
        ) from error


def _span_to_json(span: Span) -> _Json:
    ids = {"after": _id_to_json(span.after), "until": _id_to_json(span.until)}
    return {**_SPAN.dump_python(span, mode="json", exclude=set(ids)), **ids}


def _span_from_json(span: _Json, read_id: _ReadId) -> Span:
    # The type of the ids is the table's.
    read: Span = _SPAN.validate_python({**span, "after": None, "until": 0})
    read.after = None if span["after"] is None else _id_from_json(span["after"], read_id)
    read.until = _id_from_json(span["until"], read_id)
    return read


def _id_to_json(row_id: RowId | None) -> int | str | _Json | None:
    if isinstance(row_id, str) and has_bytes(row_id):
        return {"bytes": row_id.encode(ASCII, "surrogateescape").hex()}  # JSON cannot contain them
    return str(row_id) if isinstance(row_id, UUID) else row_id


def _id_from_json(written: int | str | _Json, read_id: _ReadId) -> RowId:
    if isinstance(written, Mapping):
        return bytes.fromhex(written["bytes"]).decode(ASCII, "surrogateescape")
    return read_id(written)
