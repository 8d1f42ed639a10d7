"""The filter of RECONCILER_WHERE: which rows passes cover, as a name and as SQL."""

from __future__ import annotations

import re
from dataclasses import dataclass
from decimal import Decimal
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql

from reconciler.postgres.table.types import is_text

# Text that means the same with and without quotes: as a column's name, and as a value.
_PLAIN_NAME = re.compile(r"(?!(?:and|or)$)[\w$]+", re.IGNORECASE)
_PLAIN_VALUE = re.compile(
    r"""(?!.*\b(?:and|or)\b|null$)[^\s",'(]([^",(\r\n]*[^\s",(])?""", re.IGNORECASE
)
_NUMBER = re.compile(r"[+-]?\d+(\.\d*)?", re.ASCII)
_UUID = re.compile(r"\{?(-?[0-9a-f]{4}){8}\}?", re.ASCII)
_BOOLEANS = {"t": "true", "f": "false"}


@dataclass(frozen=True, slots=True)
class Condition:
    """What one column must have."""

    column: str
    #: Empty: the condition is about NULL.
    values: tuple[str, ...] = ()
    #: Whether the column must be none of the values, or not NULL.
    negated: bool = False

    def __str__(self) -> str:
        """The same text for the same condition, in whatever order the values are given."""
        column = quoted_name(self.column)
        if not self.values:
            return f"{column} is {'not ' if self.negated else ''}null"
        values = ", ".join(sorted(map(quoted_value, self.values)))
        return f"{column} {'!=' if self.negated else '='} {values}"

    def excludes(self, other: Condition) -> bool:
        """Whether no row can fulfil both, whatever the type of the column.

        False if in doubt: a type may read two texts as one value, as 1 and 01 are one number.
        """
        if self.column != other.column or (self.negated and other.negated):
            return False
        if self.negated:
            return other.excludes(self)
        if not self.values or not (other.values or other.negated):  # one is about NULL
            return bool(self.values or other.values or other.negated)
        if other.negated:
            return set(self.values) <= set(other.values)
        theirs = set[object]().union(*map(_readings, other.values))
        return not any(theirs & _readings(value) for value in self.values)

    def holds(self, table: sa.Table) -> sa.ColumnElement[bool]:
        """The condition in SQL, its values as one parameter. NULL has none of the values.

        So, as in SQL, a row with NULL fulfils neither `=` nor `!=`: a pass leaves it alone.
        """
        column = table.c[self.column]
        if not self.values:
            # Any type can be NULL, also one that SQLAlchemy has no operators for.
            anything = sa.type_coerce(column, sa.Text)
            return anything.is_not(sa.null()) if self.negated else anything.is_(sa.null())
        values = sa.literal(list(self.values), postgresql.ARRAY(sa.Text))
        wanted = values if is_text(column) else sa.cast(values, postgresql.ARRAY(column.type))
        return column != sa.all_(wanted) if self.negated else column == sa.any_(wanted)


@dataclass(frozen=True, slots=True)
class RowFilter:
    """Conditions that a row must all fulfil: passes ignore all other rows."""

    #: Each of another column.
    conditions: tuple[Condition, ...]

    def __str__(self) -> str:
        """The same text for the same rows, in whatever order the conditions are given."""
        return " and ".join(sorted(map(str, self.conditions)))

    @property
    def columns(self) -> tuple[str, ...]:
        """The columns that are read."""
        return tuple(each.column for each in self.conditions)

    @property
    def compared(self) -> tuple[Condition, ...]:
        """The conditions with values."""
        return tuple(each for each in self.conditions if each.values)

    def excludes(self, other: RowFilter) -> bool:
        """Whether no row can fulfil both, as far as one column alone shows it."""
        return any(ours.excludes(theirs) for ours in self.conditions for theirs in other.conditions)

    def holds(self, table: sa.Table) -> sa.ColumnElement[bool]:
        """The filter in SQL."""
        return sa.and_(*(each.holds(table) for each in self.conditions))


def _readings(value: str) -> set[object]:
    """What PostgreSQL may read the text as, depending on the column's type.

    Text, perhaps without case or padding; a number, a uuid, or a boolean as PostgreSQL writes it.
    Not times, which have too many notations.
    """
    text = value.strip().casefold()
    readings: set[object] = {_BOOLEANS.get(text, text)}
    if _NUMBER.fullmatch(text):
        readings.add(Decimal(text))
    if _UUID.fullmatch(text):
        readings.add(UUID(text))
    return readings


def quoted_name(column: str) -> str:
    """The column's name, in quotes as in the settings if it could be read as something else."""
    return _in_quotes(column, _PLAIN_NAME)


def quoted_value(value: str) -> str:
    """The same for a value."""
    return _in_quotes(value, _PLAIN_VALUE)


def _in_quotes(text: str, plain: re.Pattern[str]) -> str:
    return text if plain.fullmatch(text) else '"' + text.replace('"', '""') + '"'
