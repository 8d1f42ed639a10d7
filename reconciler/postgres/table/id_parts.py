"""The columns of a workflow id by which its rows can be looked up, and their values in an id."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from typing import Any
from uuid import UUID

import sqlalchemy as sa

from reconciler.postgres.table.relation import BASE
from reconciler.postgres.table.template import Template
from reconciler.postgres.table.types import as_time, is_text, is_time

_UUID = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}")
_INTEGER = re.compile(r"0|-?[1-9][0-9]*")
_TIME = re.compile(r"[0-9]{4}(?:-[0-9]{2}){2}T[0-9]{2}(?::[0-9]{2}){2}Z")
INSTANT = sa.DateTime(timezone=True)


@dataclass(frozen=True, slots=True)
class Lookup:
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
        """The parameter with the values."""
        return f"given_part_{self.place}"

    def has(self, value: sa.ColumnElement[Any], zone: str) -> sa.ColumnElement[bool]:
        """That the column has this value, compared so that an index on the column serves."""
        base: str = self.column.info.get(BASE, "")
        if is_time(self.column):
            value = as_time(self.column, value, zone)
        elif base == "citext" or is_padded(base):
            # Compared with text, they become text, of which their index has none.
            value = sa.cast(value, _Named("bpchar" if is_padded(base) else base))
        return self.column == value


def find_lookups(template: Template, columns: Sequence[sa.Column[Any]]) -> Iterator[Lookup]:
    """The columns that are compared with few values for one id."""
    for place, column in enumerate(columns):
        kind = column.type
        if isinstance(kind, sa.Uuid):
            yield Lookup(place, column, sa.Uuid(), _as_uuid, 36)
        elif isinstance(kind, sa.Integer):
            yield Lookup(place, column, kind, partial(_as_integer, _bits(kind)), 20)
        elif is_time(column):
            yield Lookup(place, column, INSTANT, _as_instant, 20)
        elif is_text(column) and template.is_bounded(place):
            yield Lookup(place, column, sa.Text(), str)


def is_padded(base: str) -> bool:
    """Whether a type is char(n), whose values are filled up with spaces."""
    return base.startswith(("character(", "bpchar"))


class _Named(sa.types.UserDefinedType[str]):
    """A type by its name."""

    cache_ok = True

    def __init__(self, name: str) -> None:
        self.name = name

    def get_col_spec(self, **_: Any) -> str:
        return self.name


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
