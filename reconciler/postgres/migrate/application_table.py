"""Creates the application's table if there is none, or adds what it lacks.

Called by migration 0002, and by every `reconciler migrate`, for tables that the settings name
later. What is added to an existing table is marked with a comment, for `removal`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import sqlalchemy as sa
from alembic.operations import Operations

from reconciler.postgres.migrate.index_parts import MARK
from reconciler.postgres.migrate.index_statements import IndexPlan, index_of_new_table, plan_index
from reconciler.postgres.migrate.partial_index import wanted_indexes
from reconciler.postgres.schema import OWN_SCHEMA
from reconciler.postgres.table.checks.table import missing_columns
from reconciler.postgres.table.names import TableMapping, default_columns
from reconciler.postgres.table.relation import check_names, look_up


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


def find_missing(connection: sa.Connection, mapping: TableMapping) -> Additions:
    """Compare the database with what a pass needs. Reads only.

    Raises `DatabaseUnfit` if the name is not that of a table.
    """
    check_names(mapping)
    names, inspector = mapping.names, sa.inspect(connection)
    relation = look_up(connection, names)
    if relation is not None:
        relation.check_kind(names.full_name)
    if relation is None:
        for problem in missing_columns(names, mapping.read, default_columns(mapping)):
            raise problem
        # A role with the name of reconciler's schema would create its tables in there.
        in_own = connection.scalar(sa.select(sa.func.current_schema())) == OWN_SCHEMA
        schema = "public" if in_own and names.schema is None else names.schema
        wanted = wanted_indexes(connection, mapping, None)
        new = tuple(index_of_new_table(connection.dialect, each, schema) for each in wanted)
        return Additions(table=True, columns=(), indexes=new, schema=schema)
    present = {column["name"] for column in inspector.get_columns(names.table, names.schema)}
    return Additions(
        table=False,
        columns=tuple(name for name in names.filled if name not in present),
        indexes=tuple(
            plan_index(connection, each) for each in wanted_indexes(connection, mapping, relation)
        ),
        schema=names.schema,
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
