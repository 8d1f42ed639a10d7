"""The checks of the application's table, which every start makes too.

A start refuses a table in one line. Here each problem is a finding, about the table or about the
role's privileges, and what can be read is read all the same.
"""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncEngine

from reconciler.core.errors import DatabaseUnfit
from reconciler.doctor.findings import Finding, not_checked, of_error, ok, warning
from reconciler.doctor.rules.table import TABLE
from reconciler.postgres.connection.encoding import SQL_ASCII, UTF8
from reconciler.postgres.connection.engine import FORBIDDEN, sqlstate, translated
from reconciler.postgres.table.checks.role import RoleUnfit
from reconciler.postgres.table.checks.table import ReadOnly, TableUnfit
from reconciler.postgres.table.mapping import MappedTable, map_table
from reconciler.postgres.table.relation import find_relation
from reconciler.postgres.table.types import in_words
from reconciler.settings.model import Settings

PRIVILEGES = "privileges"
_FIX_TABLE = "set RECONCILER_TABLE and RECONCILER_COLUMNS__*"
# For values that a column cannot hold; the message names their settings.
_FIX_COLUMN = "change the setting or the column"
_FIX_ENCODING = "restore a dump of it into a database that is created with ENCODING 'UTF8'"


@dataclass(slots=True)
class TableFindings:
    """The findings about the table, and the table for other checks."""

    findings: list[Finding] = field(default_factory=list)
    #: The table, if it can be read as it is mapped.
    table: MappedTable | None = None
    #: The same, or a table that exists and does not fit: only its name is of use.
    named: MappedTable | None = None


async def check_table(engine: AsyncEngine, settings: Settings) -> TableFindings:
    """Map the table as a pass does. Raises `DatabaseUnusable` if the database does not answer."""
    found = TableFindings()
    try:
        try:
            found.table = await _map(engine, settings, writing=True)
        except ReadOnly as error:  # the table can be read all the same
            found.findings.append(of_error(PRIVILEGES, error))
            found.table = await _map(engine, settings, writing=False)
    except TableUnfit as error:
        found.findings += [_of_problem(each) for each in error.problems]
        await _map_unfit(found, engine, settings)
    except DatabaseUnfit as error:
        found.findings += _no_table(error, engine.dialect, settings)
    found.named = found.named or found.table
    found.findings = _complete(found, settings)
    return found


async def _map(engine: AsyncEngine, settings: Settings, *, writing: bool) -> MappedTable:
    return await map_table(engine, settings.table_mapping(), writing=writing)


async def _map_unfit(found: TableFindings, engine: AsyncEngine, settings: Settings) -> None:
    """Map a table that does not fit: for reading if that is possible, or else for its name."""
    with contextlib.suppress(DatabaseUnfit):
        found.table = await _map(engine, settings, writing=False)
        return
    mapping = settings.table_mapping()
    with contextlib.suppress(DatabaseUnfit), translated(f"read {mapping.names.full_name}"):
        async with engine.connect() as connection:
            relation, table = await find_relation(connection, mapping)
            found.named = MappedTable(table, mapping, relation)


def _of_problem(problem: DatabaseUnfit) -> Finding:
    check = PRIVILEGES if isinstance(problem, RoleUnfit) else TABLE
    return of_error(check, problem, _FIX_COLUMN)


def _no_table(error: DatabaseUnfit, dialect: sa.Dialect, settings: Settings) -> Sequence[Finding]:
    """There is no table, or it is a view, or its schema is closed to the role."""
    if sqlstate(error.__cause__) == FORBIDDEN:
        schema = dialect.identifier_preparer.quote(settings.table_mapping().names.schema or "")
        fix = f"GRANT USAGE ON SCHEMA {schema} to the role of DATABASE_URL"
        return [not_checked(TABLE, f"see {PRIVILEGES}"), of_error(PRIVILEGES, error, fix)]
    return [of_error(TABLE, error, _FIX_TABLE), not_checked(PRIVILEGES, f"see {TABLE}")]


def _complete(found: TableFindings, settings: Settings) -> list[Finding]:
    """The findings, with a line for the table or the privileges where nothing is wrong with it."""
    of_table = [each for each in found.findings if each.check == TABLE]
    of_role = [each for each in found.findings if each.check == PRIVILEGES]
    allowed = "may read and write what a pass does"
    if of_table:
        allowed = "may use the columns that are there"
    return [
        *(of_table or [_fits(found.table, settings)]),
        *(of_role or [ok(PRIVILEGES, allowed)]),
    ]


def _fits(table: MappedTable | None, settings: Settings) -> Finding:
    if table is None:  # the only problem is that it cannot be read
        return ok(TABLE, f"{settings.table} fits")
    text = f"{table.full_name} fits: {_describe(table.id)} (key), {_describe(table.status)}"
    limit = settings.message_limit(table.error_message_length)
    if limit < settings.error_message_limit:
        text += f", messages are cut at {limit} characters"
    if table.zoneless:
        columns = " and ".join(column.name for column in table.zoneless)
        text += f", {columns} without time zone, read and written in {table.mapping.zone}"
    if table.shift:
        text += (
            " (RECONCILER_TIME_ZONE is not set, so MISSING=fail and rows without a run id wait "
            "12 h longer)"
        )
    if isinstance(table.id.type, sa.Uuid) and not table.relation.has_unique_keys:
        text += f"; {table.id.name} is only part of a key, but no two rows should have the same"
    if not table.key.is_notable:
        text += "; backfill --apply and plans need a key of type bigint, integer, uuid or text"
    if table.relation.encoding == SQL_ASCII:
        text += "; the database's encoding is SQL_ASCII: rows with text that is not UTF-8 are left"
        return warning(TABLE, text, _FIX_ENCODING)
    if table.relation.encoding != UTF8:
        text += f", characters that {table.relation.encoding} lacks are written as ?"
    return ok(TABLE, text)


def _describe(column: sa.Column[Any]) -> str:
    return f"{column.name} {in_words(column.type)}"
