"""Rows given to a statement, as one array per column: a statement for any number of rows."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql

from reconciler.postgres.table.mapping import MappedTable


def given_rows(
    table: MappedTable, kinds: Mapping[str, sa.types.TypeEngine[Any]]
) -> sa.TableValuedAlias:
    """A relation of keys, these columns, and `place`, which counts the rows from 1.

    Each column is an array parameter `given_<name>`: in an UPDATE, SQLAlchemy keeps parameters
    named like columns to itself.
    """
    kinds = {"id": table.id.type, **kinds}
    arrays = [
        sa.bindparam(f"given_{name}", type_=postgresql.ARRAY(kind)) for name, kind in kinds.items()
    ]
    columns = [sa.column(name, kind) for name, kind in kinds.items()]
    given = sa.func.unnest(*arrays).table_valued(*columns, with_ordinality="place")
    return given.render_derived(name=table.beside("given"))
