"""Keys of rows: how they are read from the driver, and passed to it.

A text key may contain bytes that are invalid in the database's encoding. A pass must be able to
count and skip such a row, so its key is read and written as bytes, without loss.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Any
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql

from reconciler.core.errors import DatabaseUnfit
from reconciler.core.model import RowId
from reconciler.postgres.connection.encoding import ASCII, python_codec, read_as_bytes
from reconciler.postgres.table.types import NOTABLE_KEYS, in_words, is_text


def _as_is(value: Any) -> Any:
    return value


def _bytes_of(value: Mapping[str, str]) -> bytes:
    return bytes.fromhex(value["bytes"])


#: Types of keys, what their values are in JSON, and how they are read; all others are text.
_RECORDED: tuple[tuple[Any, Any, Callable[[Any], Any]], ...] = (
    (sa.Boolean, bool, _as_is),
    ((sa.Integer, postgresql.OID), int, _as_is),
    (sa.LargeBinary, Mapping, _bytes_of),
    (sa.Uuid, str, UUID),
    (sa.Float, str, float),
    (sa.Numeric, str, Decimal),
)


@dataclass(frozen=True, slots=True)
class Key:
    """The key's column, and conversions of its values."""

    column: sa.Column[Any]
    #: The database's.
    encoding: str

    @property
    def is_bytes(self) -> bool:
        """Whether it is read as bytes, since one row's key could fail the whole statement."""
        return is_text(self.column) and read_as_bytes(self.encoding)

    @property
    def read(self) -> sa.ColumnElement[Any]:
        """The column to select, for `decode`. Not for comparing or sorting."""
        if isinstance(self.column.type, sa.Enum):
            return sa.type_coerce(self.column, sa.Text)  # it may have got more values
        if not self.is_bytes:
            return self.column
        text = sa.cast(self.column, sa.Text)
        return sa.func.convert_to(text, self.encoding, type_=sa.LargeBinary)

    def given(self, name: str) -> sa.ColumnElement[Any]:
        """A key as a parameter, made by `encode`."""
        if not self.is_bytes:
            return sa.bindparam(name, type_=self.column.type)
        return self._text(sa.bindparam(name, type_=sa.LargeBinary))

    def is_among(self, name: str) -> sa.ColumnElement[bool]:
        """That a row's key is one of several: a parameter, of keys as they were read."""
        kind = sa.LargeBinary() if self.is_bytes else self.column.type
        keys = sa.bindparam(name, type_=postgresql.ARRAY(kind))
        if not self.is_bytes:
            return self.column == sa.any_(keys)
        wanted = sa.func.unnest(keys).table_valued(sa.column("key", kind), name="wanted")
        return self.column.in_(sa.select(self._text(wanted.render_derived().c.key)))

    def check_notable(self, full_name: str) -> None:
        """Check that keys of this table can be recorded and read again. Raises `DatabaseUnfit`."""
        if not self.is_notable:
            kind = in_words(self.column.type)
            raise DatabaseUnfit(
                f"column {self.column.name} of {full_name} is of type {kind}: "
                "backfill --apply and plans need a key of type bigint, integer, uuid or text"
            )

    @property
    def is_notable(self) -> bool:
        """Whether keys can be recorded and read again."""
        return isinstance(self.column.type, NOTABLE_KEYS)

    def decode(self, read: Any) -> RowId:
        """The key from a value that was read."""
        if not self.is_bytes:
            key: RowId = read
            return key
        text: bytes = read
        return _decoded(text, python_codec(self.encoding))

    def encode(self, key: RowId | None) -> Any:
        """The value to pass to the driver."""
        if not self.is_bytes or not isinstance(key, str):
            return key
        if has_bytes(key):
            return key.encode(ASCII, "surrogateescape")
        return key.encode(python_codec(self.encoding))

    def parse(self, value: Any) -> RowId:
        """The key from a value in JSON, see `key_to_json`.

        Raises `ValueError` if the table cannot have it.
        """
        if isinstance(value, Mapping) and is_text(self.column):
            text: RowId = _bytes_of(value).decode(ASCII, "surrogateescape")
            return text
        kind = self.column.type
        recorded = (each for kinds, *each in _RECORDED if isinstance(kind, kinds))
        shape, make = next(recorded, (str, _as_is))
        if not isinstance(value, shape) or isinstance(value, bool) is not (shape is bool):
            raise ValueError(f"{value!r} is not of type {in_words(kind)}")
        key: RowId = make(value)
        return key

    def _text(self, given: sa.ColumnElement[Any]) -> sa.ColumnElement[Any]:
        # In the column's own type, so that its index can be used.
        return sa.cast(sa.func.convert_from(given, self.encoding), self.column.type)


def _decoded(key: bytes, codec: str) -> str:
    try:
        text = key.decode(codec)
        if text.encode(codec) == key:
            return text
    except UnicodeDecodeError:
        pass
    return key.decode(ASCII, "surrogateescape")


def key_to_json(key: Any) -> Any:
    """The key of a row as it is recorded in JSON; one that was recorded stays as it is."""
    if isinstance(key, str) and has_bytes(key):
        return {"bytes": key.encode(ASCII, "surrogateescape").hex()}  # JSON cannot contain them
    if isinstance(key, bytes):
        return {"bytes": key.hex()}
    return key if key is None or isinstance(key, (int, str, Mapping)) else str(key)


def has_bytes(key: RowId) -> bool:
    """Whether a key contains bytes that are invalid in its encoding."""
    return isinstance(key, str) and any("\udc80" <= each <= "\udcff" for each in key)
