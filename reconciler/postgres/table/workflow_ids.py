"""The workflow ids of a table's rows: composed of columns, and looked up by these columns.

A lookup compares the columns with all values that they may have, so that PostgreSQL can use an
index on them. A row counts only if the id that is composed of it equals the given one: in Temporal
the id `7` is not `07`, and an upper-case uuid is not the same in lower case.

A time is written as Temporal's schedules append it to the ids of their workflows: in RFC 3339, UTC,
whole seconds. Source: `startWorkflow` in service/worker/scheduler/workflow.go of the server.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from typing import Any
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql

from reconciler.postgres.table.names import UTC, constant
from reconciler.postgres.table.relation import BASE, EXACT
from reconciler.postgres.table.template import Template
from reconciler.postgres.table.types import (
    as_instant,
    as_text,
    as_time,
    has_zone,
    is_text,
    is_time,
    readable,
)

_UUID = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}")
_INTEGER = re.compile(r"0|-?[1-9][0-9]*")
_TIME = re.compile(r"[0-9]{4}(?:-[0-9]{2}){2}T[0-9]{2}(?::[0-9]{2}){2}Z")
_TIME_FORMAT = 'YYYY-MM-DD"T"HH24:MI:SS"Z"'
_INSTANT = sa.DateTime(timezone=True)


@dataclass(frozen=True, slots=True)
class _Lookup:
    """A column that is compared with the values that it may have in a workflow id."""

    place: int
    column: sa.Column[Any]
    kind: sa.types.TypeEngine[Any]
    #: The value of a text; None if PostgreSQL shows no value as this text.
    read: Callable[[str], object | None]
    #: Characters of the longest value; None if there is no limit.
    longest: int | None = None

    @property
    def name(self) -> str:
        return f"given_part_{self.place}"


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
        among = [each.column == sa.any_(self._given(each)) for each in self._lookups]
        is_exact = all(column.info.get(EXACT, True) for column in self.columns)
        text = self.text if is_exact else sa.collate(self.text, "C")
        return sa.and_(*among, text == given)

    def _given(self, lookup: _Lookup) -> sa.ColumnElement[Any]:
        """The values that the column is compared with, in its type."""
        column = lookup.column
        values = sa.bindparam(lookup.name, type_=postgresql.ARRAY(lookup.kind))
        if not is_time(column) or has_zone(column):
            return values
        instant = sa.func.unnest(values, type_=_INSTANT).column_valued(f"{lookup.name}_value")
        local = sa.select(as_time(column, instant, self.zone))
        return sa.func.array(local.scalar_subquery(), type_=postgresql.ARRAY(column.type))

    def parameters(self, ids: Iterable[str]) -> Mapping[str, Sequence[Any]]:
        """The parameters of `equal`: what the columns may contain in rows of these ids."""
        if self.template.is_column and _is_plain(self.columns[0]):
            return {}
        every = set(ids)
        return {each.name: list(dict.fromkeys(self._values(each, every))) for each in self._lookups}

    def _values(self, of: _Lookup, ids: Iterable[str]) -> Iterator[Any]:
        for each in ids:
            for piece in self.template.pieces(each, of.place, of.longest):
                if (value := of.read(piece)) is not None:
                    yield value

    @property
    def indexable(self) -> Sequence[str]:
        """The columns by any of which an index finds the rows of a workflow id."""
        if self.template.is_column:
            return [column.name for column in self.columns]
        return [each.column.name for each in self._lookups]

    @property
    def _lookups(self) -> Iterator[_Lookup]:
        for place, column in enumerate(self.columns):
            kind = column.type
            if isinstance(kind, sa.Uuid):
                yield _Lookup(place, column, sa.Uuid(), _as_uuid, 36)
            elif isinstance(kind, sa.Integer):
                yield _Lookup(place, column, kind, partial(_as_integer, _bits(kind)), 20)
            elif is_time(column):
                yield _Lookup(place, column, _INSTANT, _as_instant, 20)
            elif is_text(column) and self.template.is_bounded(place):
                yield _Lookup(place, column, sa.Text(), str)

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
    return is_text(column) and not base.startswith(('"char"', "character(", "bpchar"))


def _is_plain(column: sa.Column[Any]) -> bool:
    """Whether `=` compares the column's text exactly, other than in citext or without case."""
    exact = column.info.get(BASE) != "citext" and column.info.get(EXACT, True)
    return is_text(column) and exact


def _as_uuid(text: str) -> UUID | None:
    return UUID(text) if _UUID.fullmatch(text) else None


def _bits(kind: sa.Integer) -> int:
    if isinstance(kind, sa.SmallInteger):
        return 16
    return 64 if isinstance(kind, sa.BigInteger) else 32


def _as_integer(bits: int, text: str) -> int | None:
    if not _INTEGER.fullmatch(text):
        return None
    value, limit = int(text), 1 << (bits - 1)
    return value if -limit <= value < limit else None


def _as_instant(text: str) -> datetime | None:
    if not _TIME.fullmatch(text):
        return None
    try:
        return datetime.fromisoformat(text)
    except ValueError:
        return None
