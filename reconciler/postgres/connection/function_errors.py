"""Errors that a function raised, most often a trigger's: which one, and how to fix it.

PostgreSQL reports where an error was raised only as text, whose words depend on the server's
language. The functions' names do not.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from reconciler.core.text import one_line

# `PL/pgSQL function app.audit() line 3 at RAISE`, `fonction PL/pgSQL app.audit(), ligne 3, …`
_PLPGSQL = re.compile(r'PL/pgSQL\b.*?((?:"[^"]+"|[\w.$])+\([^()]*\))\D*(\d+)?')
_OTHER = re.compile(r'(?:PL/\w+|SQL) function "([^"]+)"')
# The statement of a function, which is the line before the function's.
_STATEMENT = re.compile(
    r'^SQL[^"«„]*["«„]\s*(INSERT|UPDATE|DELETE|SELECT|TRUNCATE)\b', re.IGNORECASE
)
_DENIED = re.compile(r"permission denied for (?:table|relation|view) ([\w.\"$]+)")

# A message that fits into the column, and not into an index or a notification.
_TOO_LONG = ("index row size", "index row requires", "payload string too long")
_FORBIDDEN = "42501"
#: No such table, function, type or schema: a name may be found by another role's search_path.
_UNDEFINED = ("42P01", "42883", "42704", "3F000")
#: A wrong column, type or number of values.
_MISFIT = ("42703", "42804", "42601", "42702")


def place_of(error: BaseException) -> str:
    """`in function audit() line 3`, or empty if no function raised the error."""
    if not (functions := list(_functions(error))):
        return ""
    (inner, line), (outer, _) = functions[0], functions[-1]
    text = f"in function {inner}" + (f" line {line}" if line else "")
    return text if outer == inner else f"{text}, called by {outer}"


def fix_of(error: BaseException) -> str:
    """What to do about it; empty if that is up to the application."""
    functions, code = list(_functions(error)), str(getattr(error, "sqlstate", None) or "")
    if any(words in str(error) for words in _TOO_LONG):
        return "lower RECONCILER_ERROR_MESSAGE_LIMIT, so that messages fit"
    if not functions:
        return ""
    inner, _ = functions[0]
    if code == _FORBIDDEN:
        return f"{_missing_right(error)}, or ALTER FUNCTION {inner} SECURITY DEFINER"
    if code in _UNDEFINED:
        return f"write its schema in {inner}, or ALTER FUNCTION {inner} SET search_path = …"
    return f"correct {inner}, which does not fit its tables" if code in _MISFIT else ""


def functions_of(error: BaseException) -> tuple[str, ...]:
    """The functions, the innermost first, each with its line."""
    return tuple(f"{name} {line}" for name, line in _functions(error))


def _functions(error: BaseException) -> Iterator[tuple[str, str]]:
    for line in str(getattr(error, "context", None) or "").splitlines():
        if found := _PLPGSQL.search(line):
            yield one_line(found[1], 100), found[2] or ""
        elif found := _OTHER.match(line):
            yield one_line(found[1], 100) + "()", ""


def _missing_right(error: BaseException) -> str:
    table = _DENIED.search(str(error))
    statement = _STATEMENT.match(str(getattr(error, "context", None) or ""))
    if table is None or statement is None:
        return "GRANT the right to the role"
    return f"GRANT {statement[1].upper()} ON {table[1]} to the role"
