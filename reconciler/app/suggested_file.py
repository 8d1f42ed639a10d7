"""The lines of the file that `reconciler init` writes, or adds to a file. Pure."""

from __future__ import annotations

import json
import tomllib
from collections.abc import Iterator, Sequence

from reconciler.app.suggestion import WAITING, Columns, values_of
from reconciler.core.text import visible
from reconciler.postgres.table.candidates import (
    FoundColumn,
    FoundTable,
    full_name,
    normalised,
)
from reconciler.postgres.table.time_zones import Zone
from reconciler.settings.sources import TARGETS
from reconciler.settings.table import Columns as ColumnSettings
from reconciler.settings.table import TableSettings


def toml_lines(
    table: FoundTable,
    columns: Columns,
    statuses: dict[str, str | None],
    seen: Sequence[str | None],
    zones: Sequence[Zone] = (),
    *,
    unset: bool = True,
) -> Iterator[str]:
    """The lines of the file, without the comment about Temporal.

    `zones`: those in which the default of `created_at` writes, if it has no zone itself.
    `unset`: no trigger sets `updated_at`.
    """
    yield f"table = {_toml_string(full_name(table))}"
    yield from _zone_lines(columns, zones)
    yield "# Only some of the rows:"
    yield '# where = "tenant=acme,globex and deleted_at is null"'
    yield ""
    yield "[columns]"
    yield from _column_lines(table, columns, unset=unset)
    yield ""
    yield "[statuses]"
    values = values_of(columns.status, seen)
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
    if waiting := [value for value in values if normalised(value) in WAITING]:
        both = ", ".join(map(_toml_string, [*waiting, running]))
        yield f"# If waiting rows may have a running workflow: running = [{both}]"
    if None in seen:
        both = json.dumps([running, None], ensure_ascii=False)
        yield f"# If rows without a status may, too: running = {_toml_string(both)}"


def target_lines(lines: Sequence[str], target: str, outside: TableSettings) -> Iterator[str]:
    """The same lines as the sections of a target.

    Names and values that are set `outside`, and that the lines leave at their defaults, are
    written out: those outside are of another table.
    """
    given = tomllib.loads("\n".join(lines))
    start = lines.index("[statuses]")
    columns = [
        f"{name} = {_toml_string(each.default or '')}  # not that of all targets"
        for name, each in ColumnSettings.model_fields.items()
        if name not in given["columns"] and getattr(outside.columns, name) != each.default
    ]
    statuses = [
        f"{name} = {_toml_string(given['statuses']['failed'])}  # not that of all targets"
        for name, value in outside.statuses
        if value is not None and name not in given["statuses"]
    ]
    section = f"{TARGETS}.{target}"
    yield f"[{section}]"
    yield "# Its own, where they are not those of all targets: database_url_file, temporal_profile,"
    yield "# temporal_address, temporal_namespace, and any other setting (docs/targets.md)."
    for line in (*lines[: start - 1], *columns, "", *lines[start:], *statuses):
        is_header = line in ("[columns]", "[statuses]")
        yield f"[{section}.{line[1:]}" if is_header else line


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


def _column_lines(table: FoundTable, columns: Columns, *, unset: bool) -> Iterator[str]:
    types = {column.name: column.type for column in table.columns}
    yield f"id = {_toml_string(columns.id.name)}  # {visible(columns.id.type)}"
    about = visible(types.get(columns.workflow_id, "composed of columns"))
    yield f"workflow_id = {_toml_string(columns.workflow_id)}  # {about}"
    is_text = columns.id.base.startswith(("text", "character"))
    if is_text and columns.workflow_id in types.keys() - {columns.id.name}:
        yield "# If the key is the id in Temporal:"
        yield f"# workflow_id = {_toml_string(columns.id.name)}"
    for what in ("run_id", "status", "created_at"):
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
        line = f"updated_at = {_toml_string(columns.updated_at.name)}"
        yield f"{line}  # no trigger sets it" if unset else f"# {line}  # a trigger sets it"
    if columns.workflow_type:
        yield f"workflow_type = {_toml_string(columns.workflow_type.name)}"
    if columns.namespace:
        yield "# If it is Temporal's namespace, and the rows are in several:"
        yield f"# namespace = {_toml_string(columns.namespace.name)}"


def _toml_string(text: str) -> str:
    """The text as a TOML string, with invisible characters escaped."""
    quoted = json.dumps(text, ensure_ascii=False)  # TOML has the same escapes
    return "".join(each if visible(each) == each else f"\\U{ord(each):08x}" for each in quoted)
