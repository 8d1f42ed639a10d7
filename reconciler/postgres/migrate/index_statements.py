"""The statements that build, complete or drop the partial indexes on the running rows.

Built concurrently, so that the application can read and write. On a partitioned table that takes
several steps: an index on the table alone, then one on each partition, concurrently, which is
attached to it. PostgreSQL adds the index to later partitions by itself.

An index of another loop over the table is neither replaced nor dropped.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass, replace
from typing import TypeAlias

import sqlalchemy as sa

from reconciler.postgres.migrate.index_parts import MARK, Part, find_others, find_parts
from reconciler.postgres.migrate.partial_index import PartialIndex

_Quote: TypeAlias = Callable[[str], str]


@dataclass(frozen=True, slots=True)
class IndexPlan:
    """One of the indexes of this configuration, and what is to be done about it."""

    name: str
    #: What it is for.
    purpose: str
    statements: tuple[str, ...] = ()
    #: The indexes like it for other loops, or for earlier settings: they stay.
    others: tuple[str, ...] = ()


def plan_index(
    connection: sa.Connection, wanted: PartialIndex, taken: Collection[str] = ()
) -> IndexPlan:
    """The index on an existing table, with the statements that build or complete it.

    `taken`: names of other indexes that are about to be built.
    """
    parts = find_parts(connection, wanted, taken)
    if not parts:
        return IndexPlan(wanted.name(wanted.mapping.names.table), wanted.purpose)
    own, others = parts[0].index, find_others(connection, wanted, parts[0].index)
    statements = _statements_to_build(parts, wanted, connection.dialect)
    return IndexPlan(own, wanted.purpose, tuple(statements), others)


def _statements_to_build(parts: list[Part], wanted: PartialIndex, dialect: sa.Dialect) -> list[str]:
    quote = _quote(dialect)
    if parts[0].fits and parts[0].valid:
        return []
    statements = []
    if any(part.exists and not part.fits for part in parts):
        # Dropping a parent's index drops the attached ones: all are rebuilt.
        statements = [_drop(part, quote) for part in parts]
        parts = [replace(part, index=part.named, oid=None, attached=False) for part in parts]
    for part in parts:
        if part.broken:
            statements.append(_drop(part, quote))
        if part.broken or not part.exists:
            table, how = _qualified(quote, part.schema, part.name), "CONCURRENTLY "
            if part.partitioned:
                table, how = f"ONLY {table}", ""
            statements.append(_create(how, part.index, table, wanted, dialect))
    names = {(part.schema, part.name): part.index for part in parts}
    for part in parts:
        if part.parent is not None and not part.attached:
            of, to = (
                _qualified(quote, each.schema, names[each.schema, each.name])
                for each in (part, part.parent)
            )
            statements.append(f"ALTER INDEX {to} ATTACH PARTITION {of}")
    # There may be nothing to do even so: a foreign partition has no index.
    return [*statements, _mark(quote, parts[0].schema, parts[0].index)] if statements else []


def index_of_new_table(
    dialect: sa.Dialect, wanted: PartialIndex, schema: str | None, taken: Collection[str] = ()
) -> IndexPlan:
    """The index on the table that `migrate` creates; `taken`: see `plan_index`."""
    quote, table = _quote(dialect), wanted.mapping.names.table
    index = wanted.name(table, wanted.variant if wanted.name(table) in taken else "")
    build = _create("CONCURRENTLY ", index, _qualified(quote, schema, table), wanted, dialect)
    return IndexPlan(index, wanted.purpose, (build, _mark(quote, schema, index)))


def index_to_drop(connection: sa.Connection, wanted: PartialIndex) -> IndexPlan:
    """The index, with the statements that drop it unless it is the application's."""
    parts, quote = find_parts(connection, wanted), _quote(connection.dialect)
    if not parts:
        return IndexPlan(wanted.name(wanted.mapping.names.table), wanted.purpose)
    # An invalid one is reconciler's as well: the mark is set last.
    ours = parts[0].fits and (parts[0].added or not parts[0].valid)
    drops = [_drop(part, quote) for part in parts if part.exists] if ours else []
    index = parts[0].index
    others = find_others(connection, wanted, index)
    return IndexPlan(index, wanted.purpose, tuple(drops), others)


def _create(how: str, index: str, table: str, wanted: PartialIndex, dialect: sa.Dialect) -> str:
    quote, predicate = _quote(dialect), wanted.predicate(dialect)
    columns = ", ".join(map(quote, wanted.columns))
    using = "" if wanted.method == "btree" else f"USING {wanted.method} "
    return f"CREATE INDEX {how}{quote(index)} ON {table} {using}({columns}) WHERE {predicate}"


def _mark(quote: _Quote, schema: str | None, index: str) -> str:
    return f"COMMENT ON INDEX {_qualified(quote, schema, index)} IS '{MARK}'"


def _drop(part: Part, quote: _Quote) -> str:
    # A parent's index is dropped with those of its partitions, which cannot be done concurrently.
    how = "" if part.partitioned else "CONCURRENTLY "
    index = _qualified(quote, part.schema, part.index)
    return f"DROP INDEX {how}IF EXISTS {index}"


def _qualified(quote: _Quote, schema: str | None, name: str) -> str:
    return f"{quote(schema)}.{quote(name)}" if schema else quote(name)


def _quote(dialect: sa.Dialect) -> _Quote:
    return dialect.identifier_preparer.quote
