"""How RECONCILER_WHERE is read: conditions, joined by `and`."""

from __future__ import annotations

import re
from typing import Annotated

from pydantic import BeforeValidator

from reconciler.postgres.table.row_filter import Condition, RowFilter

# A column and what is asked about it. Without quotes a name ends at an operator, `and` or `or`.
_COLUMN = re.compile(
    r"""\s*(?:"(?P<quoted>(?:[^"]|"")+)"|"""
    r"""(?!(?:and|or)\s)(?P<bare>[^"=!\s](?:(?!\s+(?:and|or)\s)[^"=!])*?))"""
    r"""(?:\s*(?P<compared>!?=)|(?P<null>\s+is\s+(?P<negated>not\s+)?null)(?=\s|$))""",
    re.IGNORECASE,
)
# Without quotes a value ends at a comma, `and` or `or`.
_VALUE = re.compile(
    r"""\s*(?:"(?P<quoted>(?:[^"]|"")*)"|"""
    r"""(?P<bare>[^\s",](?:(?!\s+(?:and|or)(?:\s|$))[^,\r\n])*?))"""
    r"""(?=\s*(?:,|$)|\s+(?:and|or)(?:\s|$))""",
    re.IGNORECASE,
)
# As in SQL, and no value: such a filter would look right, and select no row.
_MISTAKEN = re.compile(r"null|'.*'", re.IGNORECASE)
_COMMA, _END = re.compile(r"\s*,"), re.compile(r"\s*$")
_AND = re.compile(r"\s+and(?=\s|$)", re.IGNORECASE)
_GRAMMAR = (
    "must look like column=value,value, column!=value, column is null or column is not null, "
    "joined by and; a name or value with a comma, a quote, and, or goes in double quotes"
)
#: Characters of the text that an error quotes.
_SHOWN = 30


def read_where(text: str) -> RowFilter:
    """`tenant=7,8 and deleted_at is null` as conditions. Raises `ValueError` with the place."""
    conditions, at = dict[str, Condition](), 0
    while True:
        found, at = _condition(text, at)
        if found.column in conditions:
            raise ValueError(
                f"names column {found.column} twice: give all of its values in one condition"
            )
        conditions[found.column] = found
        if _END.match(text, at):
            return RowFilter(tuple(conditions.values()))
        if (joined := _AND.match(text, at)) is None:
            raise _unreadable(text, at)
        at = joined.end()


def parse_where(value: object) -> object:
    """The same for a setting: None if it is empty."""
    if value == "":
        return None
    return read_where(value) if isinstance(value, str) else value


Where = Annotated[RowFilter | None, BeforeValidator(parse_where)]


def _condition(text: str, at: int) -> tuple[Condition, int]:
    """The condition that begins there, and where it ends."""
    if (found := _COLUMN.match(text, at)) is None:
        raise _unreadable(text, at)
    column, at = _content(found), found.end()
    if found["null"]:
        return Condition(column, negated=bool(found["negated"])), at
    values = list[str]()
    while True:
        value = _VALUE.match(text, at)
        if value is None or _MISTAKEN.fullmatch(value["bare"] or ""):
            raise _unreadable(text, at)
        values.append(_content(value))
        at = value.end()
        if (comma := _COMMA.match(text, at)) is None:
            break
        at = comma.end()
    if len(set(values)) < len(values):
        raise ValueError("names a value twice")
    return Condition(column, tuple(values), negated=found["compared"] == "!="), at


def _content(found: re.Match[str]) -> str:
    quoted: str | None = found["quoted"]
    return str(found["bare"]) if quoted is None else quoted.replace('""', '"')


def _unreadable(text: str, at: int) -> ValueError:
    rest = text[at:].strip()
    shown = rest if len(rest) <= _SHOWN else f"{rest[:_SHOWN]}…"
    place = f"{shown!r}" if rest else f"the end of {text.strip()!r}"
    if rest.startswith("'"):
        return ValueError(f"cannot be read at {place}: values have no single quotes, unlike in SQL")
    return ValueError(f"cannot be read at {place}: {_GRAMMAR}")
