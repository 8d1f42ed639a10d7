"""Writes the progress of a pass, and of the sweep, as JSON for `reconciler.passes`, and reads it.

Ids are numbers or text in JSON; the type of the table's key decides which text is a UUID.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from pydantic import TypeAdapter

from reconciler.core.errors import DatabaseUnfit
from reconciler.core.model import RowId
from reconciler.core.report.pass_report import PassReport
from reconciler.core.report.progress import Progress, Span
from reconciler.core.report.sweep import Rest, Swept
from reconciler.core.report.tally import Tally
from reconciler.core.text import one_line
from reconciler.postgres.table.keys import key_to_json

_Json = Mapping[str, Any]
_ReadId = Callable[[Any], RowId]

_TALLY = TypeAdapter(Tally)
_SPAN = TypeAdapter(Span)
_SWEPT = TypeAdapter(Swept)


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
    ids = {"after": key_to_json(span.after), "until": key_to_json(span.until)}
    return {**_SPAN.dump_python(span, mode="json", exclude=set(ids)), **ids}


def _span_from_json(span: _Json, read_id: _ReadId) -> Span:
    # The type of the ids is the table's.
    read: Span = _SPAN.validate_python({**span, "after": None, "until": 0})
    read.after = None if span["after"] is None else read_id(span["after"])
    read.until = read_id(span["until"])
    return read


def sweep_to_json(swept: Swept | None) -> _Json | None:
    """The state of the sweep; its keys stay as they are if they come from such a record."""
    if swept is None:
        return None
    rest = swept.rest and {
        "after": key_to_json(swept.rest.after),
        "until": key_to_json(swept.rest.until),
    }
    return {**_SWEPT.dump_python(swept, mode="json", exclude={"rest"}), "rest": rest}


def sweep_from_json(written: Any) -> Swept | None:
    """The state of the sweep, its keys as recorded; None if another version recorded it."""
    try:
        rest = written["rest"] and Rest(written["rest"]["after"], written["rest"]["until"])
        return replace(_SWEPT.validate_python({**written, "rest": None}), rest=rest)
    except (KeyError, TypeError, ValueError):
        return None
