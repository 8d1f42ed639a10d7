"""The names of log events are stable: each is in docs/logs.md, and nothing else is."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import reconciler

PACKAGE = Path(reconciler.__file__).parent
PAGE = Path(__file__).parents[3] / "docs" / "logs.md"
METHODS = ("debug", "info", "warning", "error", "exception")
#: Calls whose first argument is an event, and which hand it on.
PASSED_ON = ("level", "_log", "_survive")


def events(tree: ast.AST) -> Iterator[str]:
    for node in ast.walk(tree):
        if not isinstance(node, ast.Call) or not node.args:
            continue
        called = node.func
        is_log = (
            isinstance(called, ast.Attribute)
            and called.attr in METHODS
            and isinstance(called.value, ast.Name)
            and called.value.id == "log"
        )
        name = called.attr if isinstance(called, ast.Attribute) else getattr(called, "id", "")
        if is_log or name in PASSED_ON:
            constants = (each for each in ast.walk(node.args[0]) if isinstance(each, ast.Constant))
            yield from (str(each.value) for each in constants if isinstance(each.value, str))


def test_events_and_their_documentation_agree() -> None:
    trees = [ast.parse(path.read_text()) for path in PACKAGE.rglob("*.py")]
    # An undo chooses between two names before it logs.
    logged = {event for tree in trees for event in events(tree)}
    logged |= {"row_restored", "row_would_be_restored"}
    rows = [line.split("|")[1] for line in PAGE.read_text().splitlines() if line.startswith("| `")]
    documented = {event for row in rows for event in re.findall(r"`(\w+)`", row)}

    assert all(re.fullmatch(r"[a-z_]+", event) for event in logged), logged
    assert logged == documented
