"""What `reconciler migrate --remove` can drop, and what it keeps for others."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import sqlalchemy as sa

from reconciler.postgres.migrate.index_parts import MARK
from reconciler.postgres.migrate.index_statements import IndexPlan, index_to_drop
from reconciler.postgres.migrate.partial_index import possible_indexes
from reconciler.postgres.migrate.records import Records, count_all, count_of, removing, scopes
from reconciler.postgres.schema import OWN_SCHEMA
from reconciler.postgres.table.names import TableMapping
from reconciler.postgres.table.relation import look_up, quoted_name
from reconciler.postgres.table.scope import scope_of

_MARKED_COLUMNS = sa.text(
    "SELECT attname::text FROM pg_attribute WHERE attrelid = to_regclass(:table) AND attnum > 0"
    " AND NOT attisdropped AND col_description(attrelid, attnum) = :mark ORDER BY attnum"
)
#: The most other scopes that are named.
_NAMED = 5


@dataclass(frozen=True, slots=True)
class OtherTarget:
    """Another target of the configuration, whose part of a database stays."""

    name: str
    mapping: TableMapping
    #: Whether its settings name the same database, and whether it keeps a journal.
    same_database: bool
    journal: bool


@dataclass(frozen=True, slots=True)
class Removal:
    """What can be removed, and the statements that remove it."""

    table: str
    #: The scope of its passes; None if there is no such table.
    scope: str | None
    #: Statements that drop the indexes, outside of a transaction.
    indexes: tuple[str, ...]
    #: The columns that `migrate` added to an existing table, and the statements that drop them, if
    #: asked for.
    columns: tuple[str, ...]
    drop_columns: tuple[str, ...]
    #: The tables of reconciler's schema; empty if it stays.
    own: tuple[str, ...]
    #: The other targets that need the schema, and the statements that remove only what is ours.
    needed_by: tuple[str, ...] = ()
    of_records: tuple[str, ...] = ()
    #: What is lost with the schema, or with our records.
    records: Records = field(default_factory=Records)
    #: Indexes of other loops over the table, and those that other targets need too; they stay.
    others: tuple[str, ...] = ()
    shared: tuple[str, ...] = ()
    #: The processes that hold a lease.
    holders: tuple[str, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.statements)

    @property
    def statements(self) -> list[str]:
        """All statements, in their order."""
        return [*self.drop_columns, *self.of_records, *self.of_schema, *self.indexes]

    @property
    def of_schema(self) -> list[str]:
        """The statements that drop reconciler's schema."""
        if not self.own:
            return []
        tables = ", ".join(f"{OWN_SCHEMA}.{name}" for name in self.own)
        return [f"DROP TABLE {tables}", f"DROP SCHEMA {OWN_SCHEMA}"]

    @property
    def _records(self) -> str:
        of = self.records
        return f"the history of {_passes(of.passes)} and the journal of {of.changes} changes"

    def lines(self) -> Iterator[str]:
        """What is dropped and what is kept, for people."""
        columns = ", ".join(self.columns)
        if self.indexes:
            yield f"drops the indexes on the running rows of {self.table}"
        if self.drop_columns:
            yield f"drops from {self.table}: {columns}, WITH ALL DATA IN THEM"
        yield from self._lines_of_schema()
        if self.columns and not self.drop_columns:
            yield f"keeps in {self.table}: {columns}, which `migrate` has added"
        for other in self.others:
            yield f"keeps {other}, an index of {self.table} for other columns or running values"
        for index in self.shared:
            yield f"keeps {index}, an index of {self.table} that another target needs too"
        for holder in self.holders:
            yield f"in use by {holder}: stop it first"

    def _lines_of_schema(self) -> Iterator[str]:
        if self.own:
            yield (
                f"drops schema {OWN_SCHEMA}, with {self._records}, of every table: none can be "
                "undone any more"
            )
        if self.own and (others := self.records.others):
            named = "; ".join(f"{scope} ({_passes(count)})" for scope, count in others[:_NAMED])
            more = "; …" if len(others) > _NAMED else ""
            yield f"among them are those of other reconcilers or settings: {named}{more}"
        if self.of_records:
            yield (f"removes {self._records}, of {self.scope}: none can be undone any more")
        if self.needed_by:
            targets = "targets" if self.needed_by[1:] else "target"
            yield f"keeps schema {OWN_SCHEMA}, needed by {targets} {', '.join(self.needed_by)}"


def _passes(count: int) -> str:
    return f"{count} {'pass' if count == 1 else 'passes'}"


def find(
    connection: sa.Connection,
    mapping: TableMapping,
    but: Sequence[OtherTarget],
    own: tuple[str, ...],
    *,
    with_columns: bool,
) -> Removal:
    """What can be removed, apart from what other targets need. `own`: the schema's tables."""
    scope, plans = _scope(connection, mapping), _plans(connection, mapping)
    passed = scopes(connection, own) - {scope, None}
    # A pooler's URL may be another than the server's.
    here = [
        each for each in but if each.same_database or _scope(connection, each.mapping) in passed
    ]
    same = [each.mapping for each in here if _is_same_table(connection, mapping, each.mapping)]
    of_same = [plan for each in same for plan in _plans(connection, each) if plan.statements]
    needed = {drop for plan in of_same for drop in plan.statements}
    known = {plan.name for plan in of_same}
    columns = _columns(connection, mapping, same)
    needed_by = tuple(each.name for each in here if each.journal and own)
    return Removal(
        mapping.names.full_name,
        scope,
        indexes=tuple(drop for plan in plans for drop in plan.statements if drop not in needed),
        columns=columns,
        drop_columns=_drops(connection, mapping, columns) if with_columns else (),
        own=() if needed_by else own,
        needed_by=needed_by,
        of_records=tuple(removing(connection, own, scope)) if needed_by and scope else (),
        records=count_of(connection, own, scope)
        if needed_by
        else count_all(connection, own, scope),
        others=tuple(name for plan in plans for name in plan.others if name not in known),
        shared=tuple(plan.name for plan in plans if needed.intersection(plan.statements)),
    )


def _scope(connection: sa.Connection, mapping: TableMapping) -> str | None:
    relation = look_up(connection, mapping.names)
    return None if relation is None else scope_of(relation.identity, mapping)


def _is_same_table(connection: sa.Connection, one: TableMapping, other: TableMapping) -> bool:
    return look_up(connection, one.names) == look_up(connection, other.names)


def _plans(connection: sa.Connection, mapping: TableMapping) -> list[IndexPlan]:
    relation = look_up(connection, mapping.names)
    if relation is None:
        return []
    possible = possible_indexes(connection, mapping, relation)
    return [index_to_drop(connection, each) for each in possible]


def _columns(
    connection: sa.Connection, mapping: TableMapping, others: Sequence[TableMapping]
) -> tuple[str, ...]:
    """The columns that `migrate` has added, and none of the others has."""
    table = quoted_name(connection.dialect, mapping.names)
    added = connection.scalars(_MARKED_COLUMNS, {"table": table, "mark": MARK})
    needed = {name for other in others for name in (*other.read, *other.names.written)}
    return tuple(name for name in added if name not in needed)


def _drops(
    connection: sa.Connection, mapping: TableMapping, columns: Sequence[str]
) -> tuple[str, ...]:
    table = quoted_name(connection.dialect, mapping.names)
    quote = connection.dialect.identifier_preparer.quote
    return tuple(f"ALTER TABLE {table} DROP COLUMN {quote(name)}" for name in columns)
