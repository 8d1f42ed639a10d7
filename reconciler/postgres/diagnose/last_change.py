"""Columns for the time of a row's last change that writes of a pass would not set."""

from __future__ import annotations

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql
from sqlalchemy.ext.asyncio import AsyncEngine

from reconciler.postgres.connection.engine import translated
from reconciler.postgres.connection.queries import fetch
from reconciler.postgres.table.mapping import MappedTable

#: Possible names in lower-case letters and digits, the likeliest first.
NAMES = (
    *("updatedat", "modifiedat", "updated", "modified", "updatedon", "modifiedon"),
    *("lastupdatedat", "lastmodifiedat", "lastupdated", "lastmodified", "updatetime"),
)

# A trigger sets it if it fires before the update of a row, and its function or its arguments name
# the column.
_UNSET = sa.text(
    "SELECT a.attname::text FROM pg_attribute a WHERE a.attrelid = :oid AND a.attnum > 0"
    " AND NOT a.attisdropped AND a.attgenerated = ''"
    " AND format_type(a.atttypid, NULL) LIKE 'timestamp%'"
    " AND regexp_replace(lower(a.attname), '[^a-z0-9]', '', 'g') = ANY (:names)"
    " AND NOT EXISTS (SELECT FROM pg_trigger t JOIN pg_proc p ON p.oid = t.tgfoid"
    "  WHERE t.tgrelid = a.attrelid AND NOT t.tgisinternal AND t.tgenabled IN ('O', 'A')"
    "  AND t.tgtype & 19 = 19 AND (position(lower(a.attname) IN lower(p.prosrc)) > 0"
    "   OR position(convert_to(a.attname::text, getdatabaseencoding()) IN t.tgargs) > 0))"
    " ORDER BY array_position(:names, regexp_replace(lower(a.attname), '[^a-z0-9]', '', 'g'))"
    " LIMIT 1"
).bindparams(
    sa.bindparam("oid", type_=postgresql.OID),
    sa.bindparam("names", type_=postgresql.ARRAY(sa.Text)),
)


async def find_unset(engine: AsyncEngine, table: MappedTable) -> str | None:
    """Such a column that neither a pass nor a trigger sets; None if there is none.

    Raises `DatabaseUnusable`.
    """
    if table.mapping.names.updated_at is not None:
        return None
    return await find_unset_in(engine, table.relation.oid)


async def find_unset_in(engine: AsyncEngine, oid: int) -> str | None:
    """Such a column of the table with this oid, whatever the settings say."""
    with translated("read the columns of the table", engine):
        found = await fetch(engine, _UNSET, {"oid": oid, "names": list(NAMES)})
    return str(found[0][0]) if found else None
