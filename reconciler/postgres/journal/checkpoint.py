"""How far a pass has come, as JSON in `reconciler.passes`, and back.

Ids are numbers or text there; the table's own type tells which text is a UUID.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from datetime import datetime
from typing import Any
from uuid import UUID

from reconciler.core.errors import DatabaseUnfit
from reconciler.core.model import MISSING_REASONS, LeaveReason, RowId
from reconciler.core.progress import Progress, Span
from reconciler.core.report import PassReport
from reconciler.core.text import iso
from reconciler.core.window import Spread
from reconciler.postgres.connection.encoding import ASCII
from reconciler.postgres.table.keys import has_bytes

_Json = Mapping[str, Any]


def to_json(progress: Progress) -> _Json:
    """What is still to be done."""
    return {
        "rest": progress.rest and _span_to_json(progress.rest),
        "again": [_span_to_json(span) for span in progress.again],
        "looks_again": progress.looks_again,
    }


def from_json(cursor: _Json, read_id: Callable[[Any], RowId]) -> Progress:
    """What is still to be done, from what `to_json` made of it."""
    return Progress(
        rest=cursor["rest"] and _span_from_json(cursor["rest"], read_id),
        again=[_span_from_json(span, read_id) for span in cursor["again"]],
        looks_again=cursor["looks_again"],
    )


def restore(
    report: PassReport,
    cursor: _Json,
    read_id: Callable[[Any], RowId],
    written: Iterable[tuple[str, int]],
) -> None:
    """Give a report the progress and the counts of the pass that it resumes.

    Raises `DatabaseUnfit` if they were recorded by a version with another format.
    """
    try:
        report.progress = from_json(cursor, read_id)
        restore_counts(report, cursor["counts"], dict(written))
    except (KeyError, TypeError, ValueError) as error:
        raise DatabaseUnfit(
            f"cannot resume pass {report.pass_id}: another version of reconciler has recorded "
            f"how far it came, or the key had another type ({error!r}): use --restart"
        ) from error


def restore_counts(report: PassReport, told: _Json, written: Mapping[str, int]) -> None:
    """Give a report that has its progress the counts of its JSON, as of the last page noted.

    What was `written` is known from the journal: the process may have been killed, or stopped in
    the middle of a page, between a write and the note of it.
    """
    report.duration_seconds, report.scanned = told["duration_seconds"], told["scanned"]
    report.written = Counter(written)
    if report.progress is not None:
        report.progress.unnoted = max(report.changed - sum(told["written"].values()), 0)
    report.left = _reasons(told["left"] | {LeaveReason.UNKNOWN: told["unknown"]})
    report.lost_races, report.held_back = told["lost_races"], told["held_back"]
    report.missing = {reason: _spread(told["missing"][reason]) for reason in MISSING_REASONS}
    report.rpcs, report.screened = Counter(told["rpcs"]), told.get("screened", 0)


def _span_to_json(span: Span) -> _Json:
    return {
        "after": _written_id(span.after),
        "until": _written_id(span.until),
        "left": span.left,
        "failing": span.failing,
        "oldest_failing": iso(span.oldest_failing),
        "lost": span.lost,
    }


def _span_from_json(span: _Json, read_id: Callable[[Any], RowId]) -> Span:
    return Span(
        after=None if span["after"] is None else _read_id(span["after"], read_id),
        until=_read_id(span["until"], read_id),
        left=_reasons(span["left"]),
        failing=_reasons(span["failing"]),
        oldest_failing=_time(span["oldest_failing"]),
        lost=span["lost"],
    )


def _written_id(row_id: RowId | None) -> int | str | _Json | None:
    if isinstance(row_id, str) and has_bytes(row_id):
        return {"bytes": row_id.encode(ASCII, "surrogateescape").hex()}  # no JSON may have them
    return str(row_id) if isinstance(row_id, UUID) else row_id


def _read_id(written: int | str | _Json, read_id: Callable[[Any], RowId]) -> RowId:
    if isinstance(written, Mapping):
        return bytes.fromhex(written["bytes"]).decode(ASCII, "surrogateescape")
    return read_id(written)


def _reasons(counts: Mapping[str, int]) -> Counter[LeaveReason]:
    return Counter({LeaveReason(reason): count for reason, count in counts.items() if count})


def _spread(spread: _Json) -> Spread:
    return Spread(spread["rows"], _time(spread["oldest"]), _time(spread["newest"]))


def _time(text: str | None) -> datetime | None:
    return None if text is None else datetime.fromisoformat(text)
