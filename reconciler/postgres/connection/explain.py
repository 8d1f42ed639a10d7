"""EXPLAIN, without ANALYZE, of a statement with its parameters."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any, TypeAlias

import sqlalchemy as sa
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.compiler import SQLCompiler

#: The scans of tables in a plan, each with its index if it uses one.
Scans: TypeAlias = list[tuple[str, str | None]]


class Explain(sa.Executable, sa.ClauseElement):
    """The plan of a statement as JSON, with its parameters, as when it is executed."""

    inherit_cache = False

    def __init__(self, statement: sa.Select[Any]) -> None:
        self.statement = statement


@compiles(Explain)
def _compile_explain(element: Explain, compiler: SQLCompiler, **options: Any) -> str:
    return f"EXPLAIN (FORMAT JSON) {compiler.process(element.statement, **options)}"


def scans_of(plan: Any) -> Scans:
    """The scans in what `Explain` returns."""
    return list(find_scans((json.loads(plan) if isinstance(plan, str) else plan)[0]["Plan"]))


def find_scans(node: Mapping[str, Any]) -> Iterator[tuple[str, str | None]]:
    """The scans in a plan. A bitmap scan counts once, with its index."""
    kind = node["Node Type"]
    if "Index Name" in node:
        yield kind, node["Index Name"]
    elif "Relation Name" in node and kind != "Bitmap Heap Scan":
        yield kind, None
    for child in node.get("Plans", ()):
        yield from find_scans(child)
