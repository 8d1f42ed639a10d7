"""Finds every problem of a mapped table, each in a line of its own.

Used whenever the table is mapped, and by `reconciler doctor`. Only reads the catalogue and casts
constants: the result does not depend on the rows.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Container, Iterable, Iterator, Sequence
from dataclasses import dataclass

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from reconciler.core.errors import DatabaseUnfit, DatabaseUnusable
from reconciler.postgres.table.checks.columns import setting_of, unstorable_values, wrong_types
from reconciler.postgres.table.checks.message_length import message_problems
from reconciler.postgres.table.checks.role import hidden_rows, missing_rights
from reconciler.postgres.table.checks.unwritable import unwritable
from reconciler.postgres.table.names import TableMapping, TableNames
from reconciler.postgres.table.relation import Relation
from reconciler.postgres.table.time_zones import wrong_zones


class TableUnfit(DatabaseUnfit):
    """The table cannot be used as it is mapped."""

    def __init__(self, problems: Sequence[DatabaseUnfit]) -> None:
        super().__init__("; ".join(map(str, problems)))
        self.problems = problems


class ReadOnly(DatabaseUnusable):
    """This server does not accept writes."""


@dataclass(frozen=True, slots=True)
class Requirements:
    """What a caller needs of the table."""

    mapping: TableMapping
    #: Columns to read besides those that a pass reads.
    also: Sequence[str] = ()
    writing: bool = True
    #: The table is only compared with what a write needs, as `migrate` and dry runs do. Columns
    #: that `migrate` adds may be missing, and so may the rights to write.
    fitting: bool = False
    #: Whether rows that row-level security hides are of no concern: the caller writes single rows.
    partial: bool = False

    @property
    def read(self) -> tuple[str, ...]:
        """The columns to read."""
        return tuple(dict.fromkeys((*self.mapping.read, *self.also)))

    @property
    def columns(self) -> tuple[str, ...]:
        """The columns that must exist."""
        return tuple(dict.fromkeys((*self.read, *self.updated)))

    @property
    def updated(self) -> tuple[str, ...]:
        """The columns that this role updates."""
        return self.mapping.names.written if self.writing and not self.fitting else ()


async def check_primary(connection: AsyncConnection) -> None:
    """Check that the server accepts writes. Raises `ReadOnly`: it may after a failover."""
    # Not whether this transaction is read-only: the doctor's is.
    asked = sa.text(
        "SELECT pg_is_in_recovery(), current_setting('default_transaction_read_only') = 'on'"
    )
    replica, read_only = (await connection.execute(asked)).one()
    if replica:
        raise ReadOnly(
            "this server is a read replica",
            "point DATABASE_URL at the primary, or add target_session_attrs=primary to it",
        )
    if read_only:
        raise ReadOnly(
            "default_transaction_read_only is on for this database or role",
            "set it to off, or point DATABASE_URL elsewhere",
        )


async def find_problems(
    connection: AsyncConnection, relation: Relation, table: sa.Table, required: Requirements
) -> list[DatabaseUnfit]:
    """All problems that keep the table from being used.

    Raises `DatabaseUnfit` if it is not a table: then no other problem matters.
    """
    mapping = required.mapping
    names, present = mapping.names, table.c.keys()
    relation.check_kind(names.full_name)
    found = [*missing_columns(names, required.columns, present), *wrong_types(table, mapping)]
    found += [each async for each in unstorable_values(connection, relation, table, mapping)]
    found += [each async for each in wrong_zones(connection, relation, table, mapping)]
    if required.writing:
        found += [each async for each in unwritable(connection, relation, names, present)]
        found += [each async for each in message_problems(connection, relation, table, names)]
    found += [each async for each in _key(connection, relation, table, names)]
    commands = ["r", "w"] if required.updated else ["r"]
    hidden = hidden_rows(connection, relation, names, commands, partial=required.partial)
    found += [each async for each in hidden]
    needed = [("SELECT", name) for name in required.columns]
    needed += [("UPDATE", name) for name in required.updated]
    existing = [each for each in needed if each[1] in present]
    found += [each async for each in missing_rights(connection, relation, names, existing)]
    return found


def missing_columns(
    names: TableNames, needed: Iterable[str], present: Container[str]
) -> Iterator[DatabaseUnfit]:
    """A problem that names the missing columns, if any are."""
    missing = [name for name in needed if name not in present]
    if not missing:
        return
    settings = dict.fromkeys(setting_of(names, name) for name in missing)
    fix = f"set {', '.join(settings)}"
    if any(name in names.optional for name in missing):
        fix += " (empty: no such column)"
    if any(name in names.filled for name in missing):
        fix += ", or run `reconciler migrate`"
    yield DatabaseUnfit(f"table {names.full_name} has no column {', '.join(missing)}", fix)


_UNIQUE_KEYS = sa.text(
    "SELECT i.indisprimary, array(SELECT a.attname::text"
    "  FROM unnest(i.indkey::int2[]) WITH ORDINALITY k(attnum, place)"
    "  JOIN pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = k.attnum"
    "  WHERE k.place <= i.indnkeyatts ORDER BY k.place) AS columns FROM pg_index i"
    " WHERE i.indrelid = :oid AND i.indisunique AND i.indisvalid AND i.indpred IS NULL"
    " AND 0 <> ALL(i.indkey::int2[])"
)
_PARTITIONED_BY = sa.text(
    "SELECT DISTINCT a.attname::text FROM pg_partition_tree(CAST(CAST(:oid AS oid) AS regclass)) t"
    " JOIN pg_partitioned_table p ON p.partrelid = t.relid"
    " CROSS JOIN unnest(p.partattrs::int2[]) k(attnum)"
    " JOIN pg_attribute a ON a.attrelid = t.relid AND a.attnum = k.attnum"
)


_CHILDREN = sa.text(
    "SELECT h.inhrelid::regclass::text FROM pg_inherits h JOIN pg_class c ON c.oid = h.inhrelid"
    " WHERE h.inhparent = :oid AND NOT c.relispartition ORDER BY 1"
)


async def _key(
    connection: AsyncConnection, relation: Relation, table: sa.Table, names: TableNames
) -> AsyncIterator[DatabaseUnfit]:
    """A problem if the key is not unique: a write by key could finish other rows too.

    On a partitioned table, PostgreSQL requires the partition key in every unique index. There the
    key may be unique together with the status or the creation time, since every write compares
    them too. A uuid may be unique together with anything: it is made to be unique by itself, as
    where every key of a table begins with a tenant's id. In tables that inherit from this one, keys
    are unique only per table.
    """
    if names.id not in table.c:
        return
    keys = (await connection.execute(_UNIQUE_KEYS, {"oid": relation.oid})).all()
    if children := (await connection.scalars(_CHILDREN, {"oid": relation.oid})).all():
        yield DatabaseUnfit(
            f"{names.full_name} has child tables ({', '.join(children)}), whose rows its key does "
            "not identify",
            "set RECONCILER_TABLE to a table that no other inherits from",
        )
    by = set((await connection.scalars(_PARTITIONED_BY, {"oid": relation.oid})).all())
    identified_by = {names.id} | (by & {names.status, names.created_at})
    if isinstance(table.c[names.id].type, sa.Uuid):
        identified_by.update(*(key.columns for key in keys))
    identifies = any(names.id in key.columns and {*key.columns} <= identified_by for key in keys)
    if identifies and not table.c[names.id].nullable:
        return
    primary = next((", ".join(key.columns) for key in keys if key.indisprimary), None)
    yield DatabaseUnfit(
        f"column {names.id} of {names.full_name} does not identify a row"
        f"{f', its primary key is ({primary})' if primary else ''}",
        "set RECONCILER_COLUMNS__ID to one that is the whole primary key, or NOT NULL and UNIQUE, "
        "such as the workflow id may be, or to a uuid that is part of the primary key",
    )
