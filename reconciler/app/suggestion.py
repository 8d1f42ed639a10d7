"""The settings that `reconciler init` suggests for a table, by names and types. Pure.

Comments mark the guesses; an unclear table or column is an error.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from reconciler.core.errors import ConfigurationError
from reconciler.core.text import visible
from reconciler.postgres.diagnose.last_change import NAMES as LAST_CHANGES
from reconciler.postgres.table.candidates import (
    TEXTS,
    WORKFLOW_IDS,
    FoundColumn,
    FoundTable,
    find_column,
    find_key,
    full_name,
    normalised,
)
from reconciler.postgres.table.time_zones import Zone

_TIME = ("timestamp",)
_MESSAGE = ("text", "character", "json")
_MANUAL = "write reconciler.toml by hand (docs/tables.md)"
#: Possible column names in lower-case letters and digits, the likeliest first, and possible starts
#: of the type; none if any type will do.
_NAMES = {
    "workflow_id": (WORKFLOW_IDS, TEXTS),
    "run_id": (("runid", "workflowrunid", "temporalrunid", "firstrunid", "run"), TEXTS),
    "status": (("status", "state", "workflowstatus", "workflowstate"), ()),
    "created_at": (("createdat", "insertedat", "created", "inserted", "startedat"), _TIME),
    "completed_at": (("completedat", "finishedat", "endedat", "closedat", "ended"), _TIME),
    "error_message": (
        ("errormessage", "error", "failurereason", "failure", "err", "why"),
        _MESSAGE,
    ),
    "updated_at": (LAST_CHANGES, _TIME),
    "namespace": (("temporalnamespace", "workflownamespace", "namespace"), TEXTS),
}
#: These columns may also match by the end of the name: order_workflow_id.
_ENDINGS = ("workflow_id", "status")
_TYPE_NAMES = ("workflowtype", "temporalworkflowtype")
#: Possible status values, written likewise.
_VALUES = {
    "running": ("running", "inprogress", "active", "started", "processing", "executing", "open"),
    "completed": ("completed", "complete", "succeeded", "success", "done", "finished", "ok"),
    "failed": ("failed", "failure", "error", "errored", "broken", "bad"),
    "canceled": ("canceled", "cancelled"),
    "terminated": ("terminated", "aborted", "killed"),
    "timed_out": ("timedout", "timeout"),
}
_WAITING = ("pending", "queued", "scheduled", "waiting", "submitted", "new", "created")


@dataclass(frozen=True, slots=True)
class Columns:
    """The columns that were found; None if the table has no such column."""

    id: FoundColumn
    workflow_id: FoundColumn
    status: FoundColumn
    run_id: FoundColumn | None
    created_at: FoundColumn | None
    completed_at: FoundColumn | None
    error_message: FoundColumn | None
    updated_at: FoundColumn | None
    namespace: FoundColumn | None
    workflow_type: FoundColumn | None


def choose(tables: Sequence[FoundTable], wanted: Sequence[str]) -> FoundTable:
    """The table of this name (schema first, if given), or the only candidate.

    Raises `ConfigurationError` if there is none, or more than one.
    """
    having = [table for table in tables if _find(table, "workflow_id")]
    found = [t for t in having if [t.schema, t.name][-len(wanted) :] == [*wanted] or not wanted]
    if wanted and not found:
        raise ConfigurationError(
            f"there is no table {'.'.join(wanted)} with a column like workflow_id", _MANUAL
        )
    if not found:
        raise ConfigurationError(
            "no table has a column like workflow_id, which may be composed of others (sync-{id})",
            _MANUAL,
        )
    if len(found) > 1:
        named = ", ".join(full_name(table) for table in found)
        raise ConfigurationError(
            f"several tables have a column like workflow_id ({named})",
            f"name one, e.g. reconciler init {full_name(found[0])}",
        )
    return found[0]


def columns_of(table: FoundTable) -> Columns:
    """Find the columns. Raises `ConfigurationError` if one that is needed is missing."""
    found = {what: _find(table, what) for what in _NAMES}
    key = find_key(table)
    workflow_id, status = found.pop("workflow_id"), found.pop("status")
    if key is None:
        raise ConfigurationError(f"{full_name(table)} has no single-column key", _MANUAL)
    if workflow_id is None or status is None:
        names = ", ".join(column.name for column in table.columns)
        raise ConfigurationError(
            f"{full_name(table)} has no column like status, only {names}", _MANUAL
        )
    if found["run_id"] is None and found["created_at"] is None:
        raise ConfigurationError(
            f"{full_name(table)} has no column like run_id or created_at, and needs one of them",
            _MANUAL,
        )
    kind = next((c for c in table.columns if normalised(c.name) in _TYPE_NAMES), None)
    return Columns(key, workflow_id, status, workflow_type=kind, **found)


def statuses_of(
    table: str, status: FoundColumn, seen: Sequence[str | None]
) -> dict[str, str | None]:
    """The value of each status; statuses without one are written as failed.

    `seen`: values in the table now. If null is among them and no other value seems to be that of
    running rows, it is null. Other values are guesses, unless the column's type or a check
    constraint lists all of them. Raises `ConfigurationError` if a required one is unclear.
    """
    values = _values(status, seen)
    found: dict[str, str | None]
    found = {what: value for what in _VALUES if (value := _first_match(values, _VALUES[what]))}
    if None in seen:
        found.setdefault("running", None)
    needed = ("running", "completed", "failed")
    unclear = set(values) - set(found.values()) - {v for v in values if normalised(v) in _WAITING}
    missing = [what for what in needed if what not in found]
    if values and missing and (status.allowed or unclear or len(missing) == len(needed)):
        raise ConfigurationError(
            f"{table}.{status.name} has no value like {' or '.join(missing)}, "
            f"only {', '.join(values[:20])}",
            _MANUAL,
        )
    like = next(filter(None, found.values()), "running")
    for what in missing:
        found[what] = what.upper() if like.isupper() else what.title() if like.istitle() else what
    return found


def toml_lines(
    table: FoundTable,
    columns: Columns,
    statuses: dict[str, str | None],
    seen: Sequence[str | None],
    zones: Sequence[Zone] = (),
) -> Iterator[str]:
    """The lines of the file, without the comment about Temporal.

    `zones`: those in which the default of `created_at` writes, if it has no zone itself.
    """
    yield f"table = {_toml_string(full_name(table))}"
    yield from _zone_lines(columns, zones)
    yield "# Only some of the rows:"
    yield '# where = "tenant=acme,globex and deleted_at is null"'
    yield ""
    yield "[columns]"
    yield from _column_lines(columns)
    yield ""
    yield "[statuses]"
    values = _values(columns.status, seen)
    which = "that the column allows" if columns.status.allowed else "in the oldest and newest rows"
    yield f"# Values {which}: {', '.join(map(visible, values)) or 'none yet, so these are guesses'}"
    for what, value in statuses.items():
        if value is None:
            yield f"{what} = '[null]'  # the rows without a status"
            continue
        guessed = "" if value in values else "  # a guess: no row has it"
        yield f"{what} = {_toml_string(value)}{guessed}"
    if (running := statuses["running"]) is None:
        return
    if waiting := [value for value in values if normalised(value) in _WAITING]:
        both = ", ".join(map(_toml_string, [*waiting, running]))
        yield f"# If waiting rows may have a running workflow: running = [{both}]"
    if None in seen:
        both = json.dumps([running, None], ensure_ascii=False)
        yield f"# If rows without a status may, too: running = {_toml_string(both)}"


def _values(status: FoundColumn, seen: Sequence[str | None]) -> Sequence[str]:
    return status.allowed or [value for value in seen if value is not None]


def _zone_lines(columns: Columns, zones: Sequence[Zone]) -> Iterator[str]:
    made = columns.created_at
    if made is None or not made.base.endswith("without time zone"):
        return
    name = visible(made.name)
    if len({zone.name for zone in zones}) == 1 and zones[0].name:
        found = f"  # {name} has no time zone, its default is in this one ({zones[0].source})"
        yield f"time_zone = {_toml_string(zones[0].name)}{visible(found)}"
    else:
        yield f"# {name} has no time zone: in which one does the application write it?"
        yield '# time_zone = "UTC"'


_IF_MISSING = {
    "run_id": "no such column: rows are matched by their start time (docs/tables.md)",
    "created_at": "no such column: rows that Temporal does not know are never finished",
    "completed_at": "missing: `reconciler migrate` adds it",
    "error_message": "missing: `reconciler migrate` adds it",
}


def _column_lines(columns: Columns) -> Iterator[str]:
    for what in ("id", "workflow_id", "run_id", "status", "created_at"):
        column: FoundColumn | None = getattr(columns, what)
        named = _toml_string(column.name if column else "")
        about = visible(column.type) if column else _IF_MISSING[what]
        first = ": the first run of the chain?" if column and what == "run_id" else ""
        yield f"{what} = {named}  # {about}{first}"
    for what in ("completed_at", "error_message"):
        column = getattr(columns, what)
        yield (
            f"{what} = {_toml_string(column.name)}  # {visible(column.type)}"
            if column
            else f"# {what}: {_IF_MISSING[what]}"
        )
    if columns.updated_at:
        yield "# If readers rely on it, and no trigger sets it (docs/tables.md):"
        yield f"# updated_at = {_toml_string(columns.updated_at.name)}"
    if columns.workflow_type:
        yield f"workflow_type = {_toml_string(columns.workflow_type.name)}"
    if columns.namespace:
        yield "# If it is Temporal's namespace, and the rows are in several:"
        yield f"# namespace = {_toml_string(columns.namespace.name)}"


def _find(table: FoundTable, what: str) -> FoundColumn | None:
    """The column with the likeliest name."""
    names, types = _NAMES[what]
    # last_run_id is not run_id, updated_at is not created_at
    return find_column(table, names, types, endings=names[:2] if what in _ENDINGS else ())


def _first_match(values: Sequence[str], names: Sequence[str]) -> str | None:
    by_name = {normalised(value): value for value in reversed(values)}
    return next((by_name[name] for name in names if name in by_name), None)


def _toml_string(text: str) -> str:
    """The text as a TOML string, with invisible characters escaped."""
    quoted = json.dumps(text, ensure_ascii=False)  # TOML has the same escapes
    return "".join(each if visible(each) == each else f"\\U{ord(each):08x}" for each in quoted)
