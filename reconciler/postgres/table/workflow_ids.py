"""The workflow ids of a table's rows: composed of columns, and looked up by these columns.

A lookup compares the columns with all values that they may have, so that PostgreSQL can use an
index on them. A row counts only if the id that is composed of it equals the given one: in Temporal
the id `7` is not `07`, and an upper-case uuid is not the same in lower case.

A time is written as Temporal's schedules append it to the ids of their workflows: in RFC 3339, UTC,
whole seconds. Source: `startWorkflow` in service/worker/scheduler/workflow.go of the server.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql

from reconciler.postgres.table.id_parts import INSTANT, Lookup, find_lookups, is_padded
from reconciler.postgres.table.names import UTC, constant
from reconciler.postgres.table.relation import BASE, EXACT
from reconciler.postgres.table.template import Part, Template
from reconciler.postgres.table.types import (
    as_instant,
    as_text,
    as_time,
    has_zone,
    is_text,
    is_time,
    readable,
)

_TIME_FORMAT = 'YYYY-MM-DD"T"HH24:MI:SS"Z"'


@dataclass(frozen=True, slots=True)
class WorkflowIds:
    """The workflow ids of a table."""

    template: Template
    columns: tuple[sa.Column[Any], ...]
    #: That of times without one.
    zone: str = UTC

    @property
    def text(self) -> sa.ColumnElement[Any]:
        """A row's workflow id; null if a column that is part of it is null, empty, or no text.

        No text has a time with a fraction of a second.
        """
        if self.template.is_column:
            return self._text_of(self.columns[0])
        texts = [[constant(text)] if text else [] for text in self.template.texts]
        parts: list[sa.ColumnElement[Any]] = [*texts[0]]
        for column, text in zip(self.columns, texts[1:], strict=True):
            parts.append(sa.func.nullif(self._text_of(column), ""))
            parts += text
        first, *others = parts
        composed: sa.ColumnElement[Any] = sa.type_coerce(first, sa.Text)
        for part in others:
            composed = composed.concat(part)
        return composed

    def equal(self, given: sa.ColumnElement[Any]) -> sa.ColumnElement[bool]:
        """That a row's workflow id is the given one.

        `given` is one of those whose `parameters` the statement gets too.
        """
        if self.template.is_column and _is_plain(self.columns[0]):
            return self.columns[0] == given
        among = [
            each.column == sa.any_(self._given(each))
            for each in find_lookups(self.template, self.columns)
        ]
        is_exact = all(column.info.get(EXACT, True) for column in self.columns)
        text = self.text if is_exact else sa.collate(self.text, "C")
        return sa.and_(*among, text == given)

    def _given(self, lookup: Lookup) -> sa.ColumnElement[Any]:
        """The values that the column is compared with, in its type."""
        column = lookup.column
        values = sa.bindparam(lookup.name, type_=postgresql.ARRAY(lookup.kind))
        if not is_time(column) or has_zone(column):
            return values
        instant = sa.func.unnest(values, type_=INSTANT).column_valued(f"{lookup.name}_value")
        local = sa.select(as_time(column, instant, self.zone))
        return sa.func.array(local.scalar_subquery(), type_=postgresql.ARRAY(column.type))

    def parameters(self, ids: Iterable[str]) -> Mapping[str, Sequence[Any]]:
        """The parameters of `equal`: what the columns may contain in rows of these ids."""
        if self.template.is_column and _is_plain(self.columns[0]):
            return {}
        every = set(ids)
        return {
            each.name: list(dict.fromkeys(self._values(each, every)))
            for each in find_lookups(self.template, self.columns)
        }

    def _values(self, of: Lookup, ids: Iterable[str]) -> Iterator[Any]:
        for each in ids:
            for piece in self.template.pieces(each, of.place, of.longest):
                if (value := of.read(piece)) is not None:
                    yield value

    @property
    def looked_up(self) -> Sequence[str]:
        """The columns of an index that finds the rows of one id at once; none if there is none."""
        return list(dict.fromkeys(each.column.name for each in self._keys))

    @property
    def kinds(self) -> Mapping[str, sa.types.TypeEngine[Any]]:
        """The columns of the relation that `is_one_of` takes, and of the values of `ways`."""
        return {"workflow_id": sa.Text(), **{each.name: each.kind for each in self._keys}}

    def ways(self, workflow_id: str) -> Iterator[tuple[Any, ...]]:
        """The id, with the values of its columns, once for each way in which they compose it.

        Unlike `parameters`, which are of all ids and any column, so that a lookup of a thousand ids
        would combine each value of a column with each of another.
        """
        keys = self._keys
        if len(keys) == len(self.columns):
            values = self.template.splits(workflow_id, [Part(e.read, e.longest) for e in keys])
        else:
            values = zip(*(self._values(each, [workflow_id]) for each in keys), strict=True)
        return ((workflow_id, *each) for each in (values if keys else [()]))

    def is_one_of(self, given: sa.FromClause) -> sa.ColumnElement[bool]:
        """That a row's workflow id is that of a row of `given`, which has the columns `kinds`."""
        same = [each.has(given.c[each.name], self.zone) for each in self._keys]
        first = self.columns[0]
        if self.template.is_column and _is_plain(first) and not is_padded(first.info.get(BASE, "")):
            return sa.and_(*same)
        is_exact = all(column.info.get(EXACT, True) for column in self.columns)
        text = self.text if is_exact else sa.collate(self.text, "C")
        return sa.and_(*same, text == given.c.workflow_id)

    @property
    def _keys(self) -> Sequence[Lookup]:
        """The columns by which the rows of an id are looked up: all, or else one of them."""
        lookups = list(find_lookups(self.template, self.columns))
        if len(lookups) == len(self.columns):
            return lookups
        return sorted(lookups, key=lambda each: is_text(each.column))[:1]

    @property
    def indexable(self) -> Sequence[str]:
        """The columns by any of which an index finds the rows of a workflow id."""
        if self.template.is_column:
            return [column.name for column in self.columns]
        return [each.column.name for each in find_lookups(self.template, self.columns)]

    def _text_of(self, column: sa.Column[Any]) -> sa.ColumnElement[Any]:
        """The column as text, just as an application writes it."""
        if not is_time(column):
            return as_text(column)
        instant = as_instant(column, self.zone)
        is_whole = sa.func.date_trunc("second", instant) == instant
        utc = sa.func.timezone(UTC, readable(instant))
        return sa.case((is_whole, sa.func.to_char(utc, constant(_TIME_FORMAT))))


def is_composable(column: sa.Column[Any]) -> bool:
    """Whether the column's values have one text each: as PostgreSQL shows them, or of a schedule.

    Not so dates, numbers with decimals, booleans, and char(n) with its spaces.
    """
    if isinstance(column.type, sa.Enum | sa.Uuid | sa.Integer | sa.DateTime):
        return True
    base: str = column.info[BASE]
    return is_text(column) and not is_padded(base) and not base.startswith('"char"')


def _is_plain(column: sa.Column[Any]) -> bool:
    """Whether `=` compares the column's text exactly, other than in citext or without case."""
    exact = column.info.get(BASE) != "citext" and column.info.get(EXACT, True)
    return is_text(column) and exact
