"""Text of our own in our schema, in databases that may lack some of its characters."""

from __future__ import annotations

import json
from typing import Any

import sqlalchemy as sa

from reconciler.postgres.connection.encoding import escaped, storable

UTF_8 = "utf-8"


class OwnText(sa.TypeDecorator[str]):
    """Text with an escape for each character that the database could not hold."""

    impl = sa.Text
    cache_ok = True

    def process_bind_param(self, value: str | None, dialect: Any) -> str | None:
        """As it is stored, and looked for."""
        return value and escaped(value, dialect.codec)


def own_json(value: Any, codec: str) -> str:
    """The value as JSON, with a question mark for each of them: JSON has escapes of its own."""
    # With escapes, the server would have to translate them, which it cannot in SQL_ASCII.
    return storable(json.dumps(value, ensure_ascii=False), codec)
