"""Text in databases whose encoding is not UTF-8.

PostgreSQL converts between the database and us, and fails a whole statement for one character that
it cannot convert. So what may contain such a character is read as bytes, and decoded row by row;
what is written has such characters replaced.
"""

from __future__ import annotations

import codecs

UTF8 = "UTF8"
#: Python's name for what all encodings have in common.
ASCII = "ascii"
#: Text is kept as the bytes that came, whatever they mean.
SQL_ASCII = "SQL_ASCII"
#: Where PostgreSQL and Python differ in more than spelling.
_PYTHON_NAMES = {UTF8: "utf-8", SQL_ASCII: "utf-8", "KOI8R": "koi8-r", "KOI8U": "koi8-u"}


def python_codec(encoding: str) -> str:
    """Python's codec for an encoding of PostgreSQL's; ASCII, which all have in common, if none."""
    name = _PYTHON_NAMES.get(encoding, encoding.replace("WIN", "cp"))
    try:
        return codecs.lookup(name).name
    except LookupError:
        return ASCII


def read_as_bytes(encoding: str) -> bool:
    """Whether text is to be read as bytes, since some of it may not be readable."""
    return encoding != UTF8 and python_codec(encoding) != ASCII


def is_plain(text: str) -> bool:
    """Whether any database holds it as it is."""
    return text.isascii() and "\0" not in text


def storable(text: str, codec: str) -> str:
    """The text with a question mark for each character that the database could not hold."""
    return text.replace("\0", "?").encode(codec, "replace").decode(codec)


def escaped(text: str, codec: str) -> str:
    """The same with an escape for each of them, for names: these must stay different."""
    return text.replace("\0", "\\x00").encode(codec, "backslashreplace").decode(codec)


def decoded(text: bytes | str | None, codec: str) -> str | None:
    """Text that was read as bytes. Raises `UnicodeDecodeError`."""
    return text.decode(codec) if isinstance(text, bytes) else text


def shown(text: bytes | str | None, codec: str = ASCII) -> str:
    """As much of it as can be shown; never to be taken for what the row says."""
    return text.decode(codec, "backslashreplace") if isinstance(text, bytes) else text or ""
