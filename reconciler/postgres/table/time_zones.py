"""In which time zone the application writes columns without one, as far as the catalogue says.

A column that defaults to now() gets the time of the writer's session. A session's zone is that of
its role or database, unless the application sets another. This connection's own zone says nothing
about it.
"""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import sqlalchemy as sa
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncConnection

from reconciler.core.errors import DatabaseUnfit
from reconciler.postgres.table.names import UTC, TableMapping, TableNames
from reconciler.postgres.table.relation import Relation, quoted_name
from reconciler.postgres.table.types import has_zone, is_time

#: No zone is further behind UTC: a local time that is read as UTC looks at most that much older.
MAX_SHIFT = timedelta(hours=12)

_DEFAULT = sa.text(
    "SELECT coalesce(pg_get_expr(d.adbin, d.adrelid), t.typdefault) FROM pg_attribute a"
    " JOIN pg_type t ON t.oid = a.atttypid"
    " LEFT JOIN pg_attrdef d ON d.adrelid = a.attrelid AND d.adnum = a.attnum"
    " WHERE a.attrelid = :oid AND a.attname = :column"
)
# As PostgreSQL writes the default: a zone by name, or the session's.
_NAMED = re.compile(r"(?:\btimezone\(|\bAT TIME ZONE )'((?:[^']|'')+)'", re.IGNORECASE)
_OF_SESSION = re.compile(
    r"\b(?:now|clock_timestamp|transaction_timestamp|statement_timestamp)\(\)|'now'::"
    r"|\b(?:CURRENT_TIMESTAMP|LOCALTIMESTAMP)\b",
    re.IGNORECASE,
)
# The roles that insert rows: the owner, those with the right to, and who may log in as one of them.
# A superuser has every right, so that says nothing. For each, the setting that wins.
_WRITERS = sa.text(
    "WITH named AS (SELECT relowner AS oid FROM pg_class WHERE oid = :oid"
    "  UNION SELECT g.grantee FROM pg_class c, aclexplode(c.relacl) g"
    "   WHERE c.oid = :oid AND g.privilege_type = 'INSERT' AND g.grantee <> 0),"
    " writer AS (SELECT r.oid, r.rolname FROM pg_roles r WHERE r.rolcanlogin AND EXISTS ("
    "  SELECT FROM named WHERE named.oid = r.oid"
    "   OR (NOT r.rolsuper AND pg_has_role(r.oid, named.oid, 'USAGE')))),"
    " setting AS (SELECT s.setrole, s.setdatabase, substring(line FROM '=(.*)$') AS zone"
    "  FROM pg_db_role_setting s JOIN pg_database d ON d.datname = current_database(),"
    "  unnest(s.setconfig) line WHERE line ILIKE 'timezone=%' AND s.setdatabase IN (0, d.oid))"
    " SELECT DISTINCT zone, CASE WHEN setrole <> 0 THEN w.rolname::text END AS role,"
    "  CASE WHEN setdatabase <> 0 THEN current_database()::text END AS database"
    " FROM (TABLE writer UNION ALL SELECT 0, NULL WHERE NOT EXISTS (TABLE writer)) w"
    " LEFT JOIN LATERAL (SELECT * FROM setting WHERE setrole IN (0, w.oid)"
    "  ORDER BY setrole <> 0 DESC, setdatabase <> 0 DESC LIMIT 1) s ON true ORDER BY 1, 2, 3"
)
# The server's own, if this session has no other.
_SERVER = sa.text(
    "SELECT CASE WHEN source NOT IN ('database', 'user', 'database user', 'client', 'session')"
    " THEN setting END FROM pg_settings WHERE name = 'TimeZone'"
)
# Two zones are one if their clocks agree all the time, such as UTC and Etc/UTC.
_AGREE = sa.text(
    "SELECT bool_and(timezone(:one, day) = timezone(:other, day))"
    " FROM generate_series(now() - interval '1 year', now() + interval '1 year', '1 day') day"
)


@dataclass(frozen=True, slots=True)
class Zone:
    """A time zone that a column's default is in; None if it is not known."""

    name: str | None
    #: What says so.
    source: str


async def zones_of(connection: AsyncConnection, oid: int, column: str) -> Sequence[Zone]:
    """The zones in which this column's default may write; none if it says nothing about one."""
    default = await connection.scalar(_DEFAULT, {"oid": oid, "column": column})
    if named := _NAMED.search(default or ""):
        return [Zone(named[1].replace("''", "'"), "its own")]
    if not _OF_SESSION.search(default or ""):
        return []
    found = []
    for name, role, database in (await connection.execute(_WRITERS, {"oid": oid})).all():
        if name is None:
            found.append(Zone(await connection.scalar(_SERVER), "TimeZone of the server"))
            continue
        of = [f"role {role}"] if role else []
        of += [f"database {database}"] if database else []
        found.append(Zone(name, f"TimeZone of {' in '.join(of) or 'all roles'}"))
    return found


async def is_zone_certain(
    connection: AsyncConnection, relation: Relation, table: sa.Table, mapping: TableMapping
) -> bool:
    """Whether a row's age is known for certain, if nothing is refused.

    The times that it is judged by have a zone, or RECONCILER_TIME_ZONE says it, or their default.
    """
    names = mapping.names
    judged_by = (table.c[name] for name in (names.created_at, names.updated_at) if name)
    for column in judged_by if mapping.time_zone is None else ():
        if has_zone(column):
            continue
        zones = await zones_of(connection, relation.oid, column.name)
        if not zones or not all(
            [await _agree(connection, zone.name, mapping.zone) for zone in zones]
        ):
            return False
    return True


async def wrong_zones(
    connection: AsyncConnection, relation: Relation, table: sa.Table, mapping: TableMapping
) -> AsyncIterator[DatabaseUnfit]:
    """A problem for each column whose times would be read or written hours off."""
    names, ours = mapping.names, mapping.zone
    columns = [column.name for column in zoneless(table, names)]
    if columns and await _agree(connection, ours, UTC) is None:
        yield DatabaseUnfit(
            f"this server knows no time zone {ours}", "set RECONCILER_TIME_ZONE to one it knows"
        )
        return
    for name in columns:
        zones = await zones_of(connection, relation.oid, name)
        wrong = [z for z in zones if await _agree(connection, z.name, ours) is False]
        if not wrong:
            continue
        quote = connection.dialect.identifier_preparer.quote
        alter = f"ALTER TABLE {quoted_name(connection.dialect, names)} ALTER {quote(name)}"
        yield DatabaseUnfit(
            f"column {name} of {names.full_name} has no time zone, its default is in "
            f"{wrong[0].name} ({wrong[0].source}), and RECONCILER_TIME_ZONE is {ours}",
            f"set RECONCILER_TIME_ZONE={wrong[0].name}; or, if the application writes it in "
            f"{ours} all the same, {alter} SET DEFAULT timezone('{ours}', now())",
        )


def zoneless(table: sa.Table, names: TableNames) -> list[sa.Column[Any]]:
    """The columns with times that have no zone."""
    every = dict.fromkeys((*names.times, *names.template.columns))
    there = [table.c[name] for name in every if name in table.c]
    return [column for column in there if is_time(column) and not has_zone(column)]


async def _agree(connection: AsyncConnection, one: str | None, other: str) -> bool | None:
    """Whether both zones have the same local time; None if it is not known."""
    if one is None:
        return None
    if one == other:
        return True
    try:
        async with connection.begin_nested():
            return bool(await connection.scalar(_AGREE, {"one": one, "other": other}))
    except DBAPIError:
        return None
