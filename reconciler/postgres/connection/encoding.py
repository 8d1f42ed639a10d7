"""Text in databases whose encoding is not UTF-8.

PostgreSQL converts text for its clients, and fails a whole statement for one character that it
cannot convert. So text that may contain such a character is read as bytes and decoded row by row;
in text that is written such characters are replaced.
"""

from __future__ import annotations

import codecs
import json
from typing import Any

import sqlalchemy as sa

UTF8 = "UTF8"
#: Python's codec for what all encodings have in common.
ASCII = "ascii"
#: Text is stored as the bytes that the client sent.
SQL_ASCII = "SQL_ASCII"
#: Encodings whose names in PostgreSQL and Python differ in more than spelling.
_PYTHON_NAMES = {UTF8: "utf-8", SQL_ASCII: "utf-8", "KOI8R": "koi8-r", "KOI8U": "koi8-u"}


def python_codec(encoding: str) -> str:
    """Python's codec for an encoding of PostgreSQL's; ASCII if Python has none."""
    name = _PYTHON_NAMES.get(encoding, encoding.replace("WIN", "cp"))
    try:
        return codecs.lookup(name).name
    except LookupError:
        return ASCII


def read_as_bytes(encoding: str) -> bool:
    """Whether text must be read as bytes, because some of it may not be readable."""
    return encoding != UTF8 and python_codec(encoding) != ASCII


def as_bytes(text: sa.ColumnElement[Any]) -> sa.ColumnElement[Any]:
    """Text to select as bytes of the database's encoding: one value could fail the statement."""
    return sa.func.convert_to(text, sa.func.getdatabaseencoding(), type_=sa.LargeBinary)


def is_plain(text: str) -> bool:
    """Whether a database of any encoding can store the text unchanged."""
    return text.isascii() and "\0" not in text


def is_storable(text: str, codec: str) -> bool:
    """Whether a database with this codec can store the text unchanged."""
    return "\0" not in text and storable(text, codec) == text


def storable(text: str, codec: str) -> str:
    """The text with a question mark for each character that the database cannot store."""
    return text.replace("\0", "?").encode(codec, "replace").decode(codec)


def escaped(text: str, codec: str) -> str:
    """The same with an escape for each such character, for names, which must stay different."""
    return text.replace("\0", "\\x00").encode(codec, "backslashreplace").decode(codec)


def decoded(text: bytes | str | None, codec: str) -> str | None:
    """Text that was read as bytes. Raises `UnicodeDecodeError`."""
    return text.decode(codec) if isinstance(text, bytes) else text


def shown(text: bytes | str | None, codec: str = ASCII) -> str:
    """The text for display, with escapes for what cannot be decoded."""
    return text.decode(codec, "backslashreplace") if isinstance(text, bytes) else text or ""


def storable_json(value: Any, codec: str) -> str:
    """The value as JSON, with a question mark for each character that cannot be stored."""
    # With JSON's escapes instead, the server would have to translate them, which it cannot in
    # SQL_ASCII.
    return storable(json.dumps(value, ensure_ascii=False), codec)


class EscapedText(sa.TypeDecorator[str]):
    """A column of reconciler's, with an escape for each character that cannot be stored."""

    impl = sa.Text
    cache_ok = True

    def process_bind_param(self, value: str | None, dialect: Any) -> str | None:
        """The text as it is stored, and compared."""
        return value and escaped(value, dialect.codec)
