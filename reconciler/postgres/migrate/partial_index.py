"""The partial indexes on running rows that `migrate` builds: by key, and by workflow id.

Passes read pages by the first. The closings feed looks up rows by the second, unless another index
finds at most one row by the same columns: the key itself, or a unique index on some of them. An
index that is not unique does not replace it, since it also has the finished rows of each id.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from hashlib import sha256
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql

from reconciler.postgres.table.names import (
    BY_KEY,
    BY_WORKFLOW_ID,
    TableMapping,
    default_columns,
    index_name,
    is_looked_up,
    is_running,
)
from reconciler.postgres.table.relation import Relation, quoted_name, reflect
from reconciler.postgres.table.workflow_ids import WorkflowIds

_IS_UNIQUE = sa.text(
    "SELECT EXISTS (SELECT FROM pg_index i WHERE i.indrelid = to_regclass(:table) AND i.indisunique"
    " AND i.indisvalid AND i.indpred IS NULL AND NOT EXISTS ("
    "  SELECT FROM unnest(CAST(i.indkey AS int2[])) WITH ORDINALITY k(attnum, place)"
    "  LEFT JOIN pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = k.attnum"
    "  WHERE place <= i.indnkeyatts AND (a.attname IS NULL OR a.attname <> ALL (:columns))))"
).bindparams(sa.bindparam("columns", type_=postgresql.ARRAY(sa.Text)))


@dataclass(frozen=True, slots=True)
class PartialIndex:
    """An index on the running rows of a table."""

    mapping: TableMapping
    #: The end of its name.
    purpose: str
    columns: tuple[str, ...]
    #: The predicate, of the status and its running values.
    holds: Callable[[sa.ColumnElement[bool], Sequence[str | None]], sa.ColumnElement[bool]]

    @property
    def is_in_case(self) -> bool:
        """Whether the predicate is a CASE: see `is_looked_up`."""
        return self.holds is is_looked_up

    @property
    def method(self) -> str:
        """PostgreSQL's kind of index. A B-tree rejects rows whose text exceeds 2,700 bytes.

        A workflow id is no longer than 1,000, but nothing may keep an application from storing
        what it likes. A hash has no limit, and is enough to look ids up; it takes one column.
        """
        by_one_id = self.purpose == BY_WORKFLOW_ID and len(self.columns) == 1
        return "hash" if by_one_id else "btree"

    @property
    def variant(self) -> str:
        """Eight digits that stand for the columns, the status and its running values."""
        columns = self.columns[0] if self.purpose == BY_KEY else self.columns
        running = sorted(map(repr, self.mapping.statuses.running))
        of = repr((columns, self.mapping.names.status, running))
        return sha256(of.encode()).hexdigest()[:8]

    def name(self, table: str, variant: str = "") -> str:
        """Its name on the table or a partition."""
        return index_name(table, variant, self.purpose)

    def predicate(self, dialect: sa.Dialect) -> str:
        """The predicate in SQL."""
        status: sa.ColumnElement[Any] = sa.column(self.mapping.names.status)
        return str(self.holds(status, self.mapping.statuses.running).compile(dialect=dialect))


def wanted_indexes(
    connection: sa.Connection, mapping: TableMapping, relation: Relation | None
) -> list[PartialIndex]:
    """The indexes for the table as it is, or for that which `migrate` creates."""
    return [
        each
        for each in possible_indexes(connection, mapping, relation)
        if each.purpose == BY_KEY or not _is_unique(connection, each, relation)
    ]


def possible_indexes(
    connection: sa.Connection, mapping: TableMapping, relation: Relation | None
) -> list[PartialIndex]:
    """The same, whatever other indexes there are."""
    by_key = PartialIndex(mapping, BY_KEY, (mapping.names.id,), is_running)
    if not (columns := _looked_up(connection, mapping, relation)):
        return [by_key]
    return [by_key, PartialIndex(mapping, BY_WORKFLOW_ID, columns, is_looked_up)]


def _looked_up(
    connection: sa.Connection, mapping: TableMapping, relation: Relation | None
) -> tuple[str, ...]:
    """The columns by which rows of a workflow id are looked up."""
    template = mapping.names.template
    if relation is None:
        columns = default_columns(mapping)
    else:
        columns = dict(reflect(connection, relation, mapping.names, template.columns).c)
    if not set(template.columns) <= set(columns):
        return ()
    ids = WorkflowIds(template, tuple(columns[name] for name in template.columns))
    return tuple(ids.looked_up)


def _is_unique(connection: sa.Connection, index: PartialIndex, relation: Relation | None) -> bool:
    """Whether another index finds at most one row by these columns, or is that on the key."""
    names = index.mapping.names
    if relation is None or index.columns == (names.id,):
        return names.id in index.columns
    given = {"table": quoted_name(connection.dialect, names), "columns": list(index.columns)}
    return bool(connection.scalar(_IS_UNIQUE, given))
