"""The types of the application's columns, and how our values get into them and out again."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql

_TIME = sa.DateTime(timezone=True)

#: Of keys that can be written down, in a plan or beside a backfill's counts, and read again.
NOTABLE_KEYS = (sa.Uuid, sa.Integer, sa.String)
#: Of keys that come out of the database, and go back into it, as the same value. Not so timestamps
#: and dates (Python has no years before 1 or after 9999), intervals (a year becomes 365 days),
#: times (24:00), bit strings, documents, arrays and ranges.
KEYS = (
    *NOTABLE_KEYS,
    *(sa.Numeric, sa.Float, sa.Boolean, sa.LargeBinary),
    *(postgresql.INET, postgresql.CIDR, postgresql.MACADDR, postgresql.MACADDR8, postgresql.OID),
)


def as_stored(column: sa.Column[Any], text: sa.ColumnElement[Any]) -> sa.ColumnElement[Any]:
    """Text as the column takes it. A cast to varchar(n) would cut it without a word."""
    return text if is_text(column) else sa.cast(text, column.type)


def readable(time: sa.ColumnElement[Any]) -> sa.ColumnElement[Any]:
    """The time, or null if it is infinite or of a year that Python cannot hold."""
    possible = time.between(sa.literal_column("'0001-01-02Z'"), sa.literal_column("'9999-12-30Z'"))
    return sa.case((possible, time))


def is_text(column: sa.Column[Any]) -> bool:
    """Whether the column takes text as it is."""
    return isinstance(column.type, sa.String) and not isinstance(column.type, sa.Enum)


def in_words(kind: sa.types.TypeEngine[Any]) -> str:
    """The type as people know it: an enum by its name, all others as SQL writes them."""
    told = str(kind.compile(dialect=postgresql.dialect()))  # type: ignore[no-untyped-call]
    return told if isinstance(kind, sa.Enum) else told.lower()


def as_text(column: sa.Column[Any] | None) -> sa.ColumnElement[Any]:
    """The column as text; null where there is none."""
    return sa.cast(sa.null() if column is None else column, sa.Text)


def as_utc(column: sa.Column[Any] | None) -> sa.ColumnElement[Any]:
    """The column as timestamptz, null where there is none; without zone it is taken as UTC."""
    if column is None:
        return sa.cast(sa.null(), _TIME)
    return column if has_zone(column) else without_zone(column)


def has_zone(column: sa.Column[Any]) -> bool:
    """Whether the column is a timestamptz."""
    return bool(getattr(column.type, "timezone", False))


def without_zone(time: sa.ColumnElement[Any]) -> sa.ColumnElement[Any]:
    """Takes the zone off, or puts it on: in UTC both are written the same."""
    return sa.func.timezone("UTC", time)
