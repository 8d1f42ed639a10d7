"""The application's table, checked by what a start checks it by; and what of it can be read if not.

What a start refuses in one line is told here by what it is about: the table, or the role's rights.
"""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncEngine

from reconciler.core.errors import DatabaseUnfit
from reconciler.core.text import flat, one_line
from reconciler.doctor.findings import LIMIT, Finding, failure, not_checked, of_error, ok, warning
from reconciler.doctor.rules.connection import TABLE
from reconciler.postgres.connection.encoding import SQL_ASCII, UTF8
from reconciler.postgres.connection.engine import FORBIDDEN, sqlstate, translated
from reconciler.postgres.table.mapping import MappedTable, map_table
from reconciler.postgres.table.problem import Problem
from reconciler.postgres.table.relation import find_relation
from reconciler.postgres.table.table_checks import ReadOnly, TableUnfit
from reconciler.postgres.table.types import in_words
from reconciler.settings.model import Settings

PRIVILEGES = "privileges"
_FIX_TABLE = "set RECONCILER_TABLE and RECONCILER_COLUMNS__*"
# For values that the column cannot hold: the text names their settings.
_FIX_COLUMN = "change the setting or the column"
_FIX_ENCODING = "restore a dump of it into a database that is created with ENCODING 'UTF8'"


@dataclass(slots=True)
class TableFindings:
    """What is said about the table, and what others can use of it."""

    findings: list[Finding] = field(default_factory=list)
    #: The table, if it can be read as it is mapped.
    table: MappedTable | None = None
    #: The same, or one that does not fit and is good for its name.
    named: MappedTable | None = None


async def check_table(engine: AsyncEngine, settings: Settings) -> TableFindings:
    """Map the table as a pass does. Raises `DatabaseUnusable` if it cannot be asked."""
    found = TableFindings()
    try:
        try:
            found.table = await _map(engine, settings, writing=True)
        except ReadOnly as error:  # what is there can be read all the same
            found.findings.append(of_error(PRIVILEGES, error))
            found.table = await _map(engine, settings, writing=False)
    except TableUnfit as error:
        found.findings += [_of_problem(each) for each in error.problems]
        await _look_at_the_rest(found, engine, settings)
    except DatabaseUnfit as error:
        found.findings += _no_table(error, engine.dialect, settings)
    found.named = found.named or found.table
    found.findings = _complete(found, settings)
    return found


async def _map(engine: AsyncEngine, settings: Settings, *, writing: bool) -> MappedTable:
    return await map_table(engine, settings.table_mapping(), writing=writing)


async def _look_at_the_rest(found: TableFindings, engine: AsyncEngine, settings: Settings) -> None:
    """Of a table that does not fit: whether it can be read at least, and what it is called."""
    with contextlib.suppress(DatabaseUnfit):
        found.table = await _map(engine, settings, writing=False)
        return
    mapping = settings.table_mapping()
    with contextlib.suppress(DatabaseUnfit), translated(f"read {mapping.names.full_name}"):
        async with engine.connect() as connection:
            relation, table = await find_relation(connection, mapping)
            found.named = MappedTable(table, mapping, relation)


def _of_problem(problem: Problem) -> Finding:
    check = PRIVILEGES if problem.of_role else TABLE
    return failure(check, one_line(problem.text, LIMIT), flat(problem.fix or _FIX_COLUMN))


def _no_table(error: DatabaseUnfit, dialect: sa.Dialect, settings: Settings) -> Sequence[Finding]:
    """Nothing is there to be looked at: no table, another kind of relation, or a closed schema."""
    if sqlstate(error.__cause__) == FORBIDDEN:
        schema = dialect.identifier_preparer.quote(settings.table_mapping().names.schema or "")
        fix = f"GRANT USAGE ON SCHEMA {schema} to the role of DATABASE_URL"
        return [not_checked(TABLE, f"see {PRIVILEGES}"), of_error(PRIVILEGES, error, fix)]
    return [of_error(TABLE, error, _FIX_TABLE), not_checked(PRIVILEGES, f"see {TABLE}")]


def _complete(found: TableFindings, settings: Settings) -> list[Finding]:
    """What was found, and a word about that of the two which is well."""
    of_table, of_role = (
        [each for each in found.findings if each.check == check] for check in (TABLE, PRIVILEGES)
    )
    rights = (
        "may use the columns that are there" if of_table else "may read and write what a pass does"
    )
    return [
        *(of_table or [_fit(found.table, settings)]),
        *(of_role or [ok(PRIVILEGES, rights)]),
    ]


def _fit(table: MappedTable | None, settings: Settings) -> Finding:
    if table is None:  # nothing is wrong with it but that it cannot be read
        return ok(TABLE, f"{settings.table} fits")
    told = f"{table.full_name} fits: {_kind(table.id)} (key), {_kind(table.status)}"
    limit = settings.message_limit(table.error_message_length)
    if limit < settings.error_message_limit:
        told += f", messages are cut at {limit} characters"
    if not table.notes_keys:
        told += "; backfill --apply and plans need a key of type bigint, integer, uuid or text"
    if table.relation.encoding == SQL_ASCII:
        told += "; the database's encoding is SQL_ASCII: rows with text that is not UTF-8 stay"
        return warning(TABLE, told, _FIX_ENCODING)
    if table.relation.encoding != UTF8:
        told += f", characters that {table.relation.encoding} lacks are written as ?"
    return ok(TABLE, told)


def _kind(column: sa.Column[Any]) -> str:
    return f"{column.name} {in_words(column.type)}"
