"""The settings that `reconciler init` suggests for a table, by names and types. Pure.

Comments mark the guesses; an unclear table or column is an error.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from reconciler.core.errors import ConfigurationError
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
from reconciler.postgres.table.template import Template

_TIME = ("timestamp",)
_MESSAGE = ("text", "character", "json")
_OTHER = "name another one; a schema goes before a dot, as in billing.jobs"
_MANUAL = "write reconciler.toml by hand (docs/tables.md)"
#: Possible column names in lower-case letters and digits, the likeliest first, and possible starts
#: of the type; none if any type will do.
_NAMES = {
    "workflow_id": (WORKFLOW_IDS, TEXTS),
    "run_id": (("runid", "workflowrunid", "temporalrunid", "firstrunid", "run"), TEXTS),
    "status": (("status", "state", "workflowstatus", "workflowstate"), ()),
    "created_at": (
        ("createdat", "insertedat", "created", "inserted", "startedat", "createtime"),
        _TIME,
    ),
    "completed_at": (
        ("completedat", "finishedat", "endedat", "closedat", "ended", "closetime", "endtime"),
        _TIME,
    ),
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
#: Likewise, of rows whose workflow may not have started.
WAITING = ("pending", "queued", "scheduled", "waiting", "submitted", "new", "created")


@dataclass(frozen=True, slots=True)
class Columns:
    """The columns that were found; None if the table has no such column."""

    id: FoundColumn
    #: As in the settings: a column's name, or a template.
    workflow_id: str
    status: FoundColumn
    run_id: FoundColumn | None
    created_at: FoundColumn | None
    completed_at: FoundColumn | None
    error_message: FoundColumn | None
    updated_at: FoundColumn | None
    namespace: FoundColumn | None
    workflow_type: FoundColumn | None


def choose(
    tables: Sequence[FoundTable], wanted: Sequence[str], workflow_id: str | None = None
) -> FoundTable:
    """The table of this name (schema first, if given), or the only candidate.

    `workflow_id`: where its workflow ids are, if the user says so. Raises `ConfigurationError` if
    there is no such table, or more than one.
    """
    found = [t for t in tables if [t.schema, t.name][-len(wanted) :] == [*wanted] or not wanted]
    if wanted and not found:
        raise ConfigurationError(f"there is no table {'.'.join(wanted)} in this database", _OTHER)
    if workflow_id is None:
        having = [table for table in found if _find(table, "workflow_id")]
        if not having:
            which, name = (full_name(found[0]),) * 2 if wanted else ("no table", "jobs")
            raise ConfigurationError(
                f"{which} has {'no' if wanted else 'a'} column like workflow_id",
                "name it with --workflow-id, or say how ids are composed: "
                f"reconciler init {name} --workflow-id 'job-{{id}}'",
            )
        found = having
    if len(found) > 1:
        named = ", ".join(full_name(table) for table in found)
        raise ConfigurationError(
            f"several tables have a column like workflow_id ({named})",
            f"name one, e.g. reconciler init {full_name(found[0])}",
        )
    return found[0]


def columns_of(table: FoundTable, workflow_id: str | None = None) -> Columns:
    """Find the columns. Raises `ConfigurationError` if one that is needed is missing.

    `workflow_id`: a column or a template, if the user says so.
    """
    key = find_key(table)
    if key is None:
        raise ConfigurationError(f"{full_name(table)} has no single-column key", _MANUAL)
    written = workflow_id or _found_workflow_id(table)
    ids = {key.name, *_columns_in(table, written)}
    rest = replace(table, columns=tuple(c for c in table.columns if c.name not in ids))
    found = {what: _find(rest, what) for what in _NAMES if what != "workflow_id"}
    names = ", ".join(column.name for column in table.columns)
    if (status := found.pop("status")) is None:
        raise ConfigurationError(
            f"{full_name(table)} has no column like status, only {names}", _MANUAL
        )
    if found["run_id"] is None and found["created_at"] is None:
        raise ConfigurationError(
            f"{full_name(table)} has no column like run_id or created_at, and needs one of them",
            _MANUAL,
        )
    kind = next((c for c in rest.columns if normalised(c.name) in _TYPE_NAMES), None)
    return Columns(key, written, status, workflow_type=kind, **found)


def _found_workflow_id(table: FoundTable) -> str:
    """The name of the column, as a template. Raises `ConfigurationError` if there is none."""
    found = _find(table, "workflow_id")
    if found is None:
        raise ConfigurationError(f"{full_name(table)} has no column like workflow_id", _MANUAL)
    return found.name.replace("{", "{{").replace("}", "}}")


def _columns_in(table: FoundTable, workflow_id: str) -> tuple[str, ...]:
    """The columns that the workflow id consists of. Raises `ConfigurationError`."""
    try:
        named = Template.parse(workflow_id).columns
    except ValueError as error:
        raise ConfigurationError(f"--workflow-id {workflow_id!r} {error}") from None
    names = [column.name for column in table.columns]
    if unknown := [name for name in named if name not in names]:
        raise ConfigurationError(
            f"--workflow-id: {full_name(table)} has no column {unknown[0]}, only {', '.join(names)}"
        )
    return named


def statuses_of(
    table: str, status: FoundColumn, seen: Sequence[str | None]
) -> dict[str, str | None]:
    """The value of each status; statuses without one are written as failed.

    `seen`: values in the table now. If null is among them and no other value seems to be that of
    running rows, it is null. Other values are guesses, unless the column's type or a check
    constraint lists all of them. Raises `ConfigurationError` if a required one is unclear.
    """
    values = values_of(status, seen)
    found: dict[str, str | None]
    found = {what: value for what in _VALUES if (value := _first_match(values, _VALUES[what]))}
    if None in seen:
        found.setdefault("running", None)
    needed = ("running", "completed", "failed")
    unclear = set(values) - set(found.values()) - {v for v in values if normalised(v) in WAITING}
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


def values_of(status: FoundColumn, seen: Sequence[str | None]) -> Sequence[str]:
    """The values that the column allows, or else those in the table."""
    return status.allowed or [value for value in seen if value is not None]


def _find(table: FoundTable, what: str) -> FoundColumn | None:
    """The column with the likeliest name."""
    names, types = _NAMES[what]
    # last_run_id is not run_id, updated_at is not created_at
    return find_column(table, names, types, endings=names[:2] if what in _ENDINGS else ())


def _first_match(values: Sequence[str], names: Sequence[str]) -> str | None:
    by_name = {normalised(value): value for value in reversed(values)}
    return next((by_name[name] for name in names if name in by_name), None)
