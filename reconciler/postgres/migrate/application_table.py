"""Creates the application's table if there is none, or adds what it lacks.

Called by migration 0002, and by every `reconciler migrate`, for tables that the settings name
later. What is added to an existing table is marked with a comment, for `removal`.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass
from functools import partial

import sqlalchemy as sa
from alembic.operations import Operations

from reconciler.postgres.migrate.index_parts import MARK
from reconciler.postgres.migrate.index_statements import IndexPlan, index_of_new_table, plan_index
from reconciler.postgres.migrate.partial_index import wanted_indexes
from reconciler.postgres.schema import OWN_SCHEMA
from reconciler.postgres.table.checks.table import missing_columns
from reconciler.postgres.table.names import TableMapping, TableNames, default_columns
from reconciler.postgres.table.relation import Relation, check_names, look_up


@dataclass(frozen=True, slots=True)
class Additions:
    """What a database lacks."""

    table: bool
    #: The names of missing columns.
    columns: tuple[str, ...]
    #: That by which passes read first.
    indexes: tuple[IndexPlan, ...]
    #: The schema of a new table; None: the connection's default.
    schema: str | None = None

    def __bool__(self) -> bool:
        return self.table or bool(self.columns) or any(index.statements for index in self.indexes)

    def lines(self, table: str, needed: Collection[str]) -> Iterator[str]:
        """What was added, once it is there. `needed`: indexes that others are known to need."""
        if self.table:
            yield f"table {table}: created"
        for column in self.columns:
            yield f"table {table}: added column {column}"
        for index in self.indexes:
            if not index.statements:
                continue
            yield f"table {table}: built index {index.name}"
            for other in index.others:
                if other not in needed:
                    yield (
                        f"table {table}: kept index {other}, for other columns or running values: "
                        "drop it if no reconciler has them"
                    )


def find_missing(
    connection: sa.Connection, mapping: TableMapping, earlier: Sequence[TableMapping] = ()
) -> Additions:
    """Compare the database with what a pass needs. Reads only.

    `earlier`: for these mappings it will have been migrated by then. Raises `DatabaseUnfit` if the
    name is not that of a table.
    """
    check_names(mapping)
    names = mapping.names
    relation = look_up(connection, names)
    before = [each for each in earlier if _is_same(connection, relation, names, each.names)]
    if relation is not None:
        relation.check_kind(names.full_name)
        columns = sa.inspect(connection).get_columns(names.table, names.schema)
        present = {column["name"] for column in columns}
        return Additions(
            table=False,
            columns=_lacking(mapping, present, before),
            indexes=_indexes(
                partial(plan_index, connection), connection, mapping, relation, before
            ),
            schema=names.schema,
        )
    made = default_columns(before[0] if before else mapping)
    for problem in missing_columns(names, mapping.read, made):
        raise problem
    # A role with the name of reconciler's schema would create its tables in there.
    in_own = connection.scalar(sa.select(sa.func.current_schema())) == OWN_SCHEMA
    schema = "public" if in_own and names.schema is None else names.schema
    new = partial(index_of_new_table, connection.dialect, schema=schema)
    return Additions(
        table=not before,
        columns=_lacking(mapping, set(made), before),
        indexes=_indexes(new, connection, mapping, None, before),
        schema=schema,
    )


def _is_same(
    connection: sa.Connection, relation: Relation | None, one: TableNames, other: TableNames
) -> bool:
    """Whether both are one table, if only once it has been created."""
    if relation is None:
        return (one.schema, one.table) == (other.schema, other.table)
    return look_up(connection, other) == relation


def _lacking(
    mapping: TableMapping, present: set[str], earlier: Sequence[TableMapping]
) -> tuple[str, ...]:
    added = {name for each in earlier for name in each.names.filled}
    return tuple(name for name in mapping.names.filled if name not in present | added)


def _indexes(
    plan: Callable[..., IndexPlan],
    connection: sa.Connection,
    mapping: TableMapping,
    relation: Relation | None,
    earlier: Sequence[TableMapping],
) -> tuple[IndexPlan, ...]:
    """The plans for the indexes; for none that an earlier mapping has, or takes the name of."""
    planned: dict[tuple[str, str], IndexPlan] = {}
    for each in earlier:
        for wanted in wanted_indexes(connection, each, relation):
            taken = [built.name for built in planned.values()]
            key = wanted.purpose, wanted.variant
            planned[key] = planned.get(key) or plan(wanted, taken=taken)
    taken = [built.name for built in planned.values()]
    return tuple(
        IndexPlan(there.name, there.purpose)
        if (there := planned.get((wanted.purpose, wanted.variant)))
        else plan(wanted, taken=taken)
        for wanted in wanted_indexes(connection, mapping, relation)
    )


def indexes_of(connection: sa.Connection, mappings: Sequence[TableMapping]) -> frozenset[str]:
    """The names of the indexes on these tables, as far as the tables exist."""
    return frozenset(
        plan_index(connection, each).name
        for mapping in mappings
        if (relation := look_up(connection, mapping.names)) is not None
        for each in wanted_indexes(connection, mapping, relation)
    )


def add_missing(op: Operations, mapping: TableMapping, missing: Additions) -> None:
    """Add what is missing and change nothing else.

    An index is built concurrently, outside of a transaction: the application keeps reading and
    writing. A column without a default is added at once, after at most five seconds' wait for the
    lock.
    """
    names, columns = mapping.names, default_columns(mapping)
    if missing.table:
        op.create_table(names.table, *columns.values(), schema=missing.schema)
    for name in missing.columns:
        column = sa.Column(name, columns[name].type, comment=MARK)
        op.add_column(names.table, column, schema=names.schema)
    _run(op, [statement for index in missing.indexes for statement in index.statements])


def _run(op: Operations, statements: Sequence[str]) -> None:
    """Execute outside of a transaction, which CONCURRENTLY requires."""
    if statements:
        with op.get_context().autocommit_block():
            for statement in statements:
                op.execute(sa.text(statement.replace(":", "\\:")))
