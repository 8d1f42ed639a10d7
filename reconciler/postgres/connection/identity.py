"""What identifies a database, whatever its address: for two hosts to compare."""

from __future__ import annotations

from collections.abc import Mapping

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql
from sqlalchemy.ext.asyncio import AsyncEngine

from reconciler.postgres.connection.engine import translated
from reconciler.postgres.connection.queries import fetch

_MAY_READ = sa.text("SELECT has_function_privilege('pg_control_system()', 'execute')")
# As text: the system identifier is larger than what JSON's readers take for a number.
_SYSTEM = sa.text("SELECT system_identifier::text FROM pg_control_system()")
_DATABASE = (
    sa.select(sa.literal_column("oid::text", sa.Text))
    .select_from(sa.text("pg_database"))
    .where(sa.text("datname = current_database()"))
)


async def database_identity(
    engine: AsyncEngine, relation: sa.ColumnElement[object]
) -> Mapping[str, str]:
    """The cluster, the database and the table in it, as far as the role may read them.

    `relation`: the table, as regclass. A physical copy has the same identity as its original.
    Raises `DatabaseUnusable`.
    """
    table = sa.cast(sa.cast(relation, postgresql.OID), sa.Text)
    found: dict[str, str | None] = {}
    with translated("read what identifies the database"):
        if (await fetch(engine, _MAY_READ))[0][0]:
            found["system"] = (await fetch(engine, _SYSTEM))[0][0]
        ((found["database"], found["table"]),) = await fetch(
            engine, sa.select(_DATABASE.scalar_subquery(), table)
        )
    return {name: value for name, value in found.items() if value is not None}
