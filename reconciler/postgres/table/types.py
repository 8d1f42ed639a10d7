"""The types of the application's columns, and conversions to and from them."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql

_TIME = sa.DateTime(timezone=True)

#: Types of keys that can be recorded, in a plan or a checkpoint, and read again.
NOTABLE_KEYS = (sa.Uuid, sa.Integer, sa.String)
#: Types of keys that the driver reads and writes without loss. Not so timestamps and dates (Python
#: has no years before 1 or after 9999), intervals (a year becomes 365 days), times (24:00), bit
#: strings, documents, arrays and ranges.
KEYS = (
    *NOTABLE_KEYS,
    *(sa.Numeric, sa.Float, sa.Boolean, sa.LargeBinary),
    *(postgresql.INET, postgresql.CIDR, postgresql.MACADDR, postgresql.MACADDR8, postgresql.OID),
)


def as_stored(column: sa.Column[Any], text: sa.ColumnElement[Any]) -> sa.ColumnElement[Any]:
    """Text in the column's type. Not a cast to varchar(n), which would silently cut it."""
    return text if is_text(column) else sa.cast(text, column.type)


def readable(time: sa.ColumnElement[Any]) -> sa.ColumnElement[Any]:
    """The time, or null if it is infinite or of a year that Python cannot hold."""
    possible = time.between(sa.literal_column("'0001-01-02Z'"), sa.literal_column("'9999-12-30Z'"))
    return sa.case((possible, time))


def is_text(column: sa.Column[Any]) -> bool:
    """Whether the column stores text, and not an enum."""
    return isinstance(column.type, sa.String) and not isinstance(column.type, sa.Enum)


def is_document(column: sa.Column[Any]) -> bool:
    """Whether the column stores json or jsonb."""
    return isinstance(column.type, sa.JSON)


def as_message(
    column: sa.Column[Any], message: sa.ColumnElement[Any], key: str
) -> sa.ColumnElement[Any]:
    """The text of what the column holds for a message: in a document, the value of `key`.

    Where null is not allowed, no message is an empty text, or an empty document.
    """
    if not is_document(column):
        return message if column.nullable else sa.func.coalesce(message, sa.literal("", sa.Text))
    empty: sa.ColumnElement[Any] = sa.null() if column.nullable else sa.literal("{}", sa.Text)
    document = sa.func.jsonb_build_object(sa.literal(key, sa.Text), message)
    return sa.case((message.is_not(None), sa.cast(document, sa.Text)), else_=empty)


def in_words(kind: sa.types.TypeEngine[Any]) -> str:
    """The type for messages: an enum by its name, all others as in SQL."""
    name = str(kind.compile(dialect=postgresql.dialect()))  # type: ignore[no-untyped-call]
    return name if isinstance(kind, sa.Enum) else name.lower()


def as_text(column: sa.Column[Any] | None) -> sa.ColumnElement[Any]:
    """The column as text; null if there is none."""
    return sa.cast(sa.null() if column is None else column, sa.Text)


def as_instant(column: sa.Column[Any] | None, zone: str) -> sa.ColumnElement[Any]:
    """The column as timestamptz, null if there is none; `zone` is that of a column without one.

    A local time that occurs twice, as clocks go back, is the second of the two; one that they skip
    is the later possible one. So a row never looks older than it is.
    """
    if column is None:
        return sa.cast(sa.null(), _TIME)
    return column if has_zone(column) else sa.func.timezone(zone, column)


def as_time(
    column: sa.Column[Any], instant: sa.ColumnElement[Any], zone: str
) -> sa.ColumnElement[Any]:
    """A timestamptz in the column's type."""
    return instant if has_zone(column) else sa.func.timezone(zone, instant)


def is_time(column: sa.Column[Any]) -> bool:
    """Whether the column is a timestamp, with or without a zone."""
    return isinstance(column.type, sa.DateTime)


def has_zone(column: sa.Column[Any]) -> bool:
    """Whether the column is a timestamptz."""
    return bool(getattr(column.type, "timezone", False))
