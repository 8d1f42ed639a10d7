"""What PostgreSQL says of the function that raised an error, in any language."""

from __future__ import annotations

import asyncpg
import pytest

from reconciler.postgres.connection.function_errors import fix_of, functions_of, place_of


def raised(
    context: str, words: str = "no", kind: type[asyncpg.PostgresError] = asyncpg.RaiseError
) -> asyncpg.PostgresError:
    error = kind(words)
    error.context = context
    return error


NESTED = """SQL statement "INSERT INTO log VALUES (1)"
PL/pgSQL function note() line 2 at SQL statement
SQL statement "SELECT note()"
PL/pgSQL function audit() line 9 at PERFORM"""


@pytest.mark.parametrize(
    ("context", "expected"),
    [
        ("PL/pgSQL function audit() line 3 at RAISE", "in function audit() line 3"),
        ("PL/pgSQL function app.audit(text,integer) line 12 at SQL statement",
         "in function app.audit(text,integer) line 12"),
        ('PL/pgSQL function "My".audit() line 3 at RAISE', 'in function "My".audit() line 3'),
        ("PL/pgSQL-Funktion audit() Zeile 3 bei RAISE", "in function audit() line 3"),
        ("fonction PL/pgSQL audit(), ligne 3, à RAISE", "in function audit() line 3"),
        ("функция PL/pgSQL audit(), строка 3, оператор RAISE", "in function audit() line 3"),
        ("PL/pgSQL function audit() while casting return value", "in function audit()"),
        ('PL/Python function "audit"', "in function audit()"),
        (NESTED, "in function note() line 2, called by audit()"),
        ("unnamed portal parameter $1", ""),
        ("", ""),
    ],
)  # fmt: skip
def test_the_function_is_named(context: str, expected: str) -> None:
    assert place_of(raised(context)) == expected


def test_the_same_function_raises_different_errors_in_different_lines() -> None:
    context = "PL/pgSQL function audit() line {} at RAISE"

    assert functions_of(raised(context.format(3))) != functions_of(raised(context.format(4)))


INSERT = 'SQL statement "INSERT INTO app.log VALUES (1)"\nPL/pgSQL function audit() line 3 at SQL'
SQLS = "SQL-Anweisung »INSERT INTO log VALUES (1)«\nPL/pgSQL-Funktion audit() Zeile 3"


@pytest.mark.parametrize(
    ("kind", "words", "context", "expected"),
    [
        (
            asyncpg.InsufficientPrivilegeError,
            "permission denied for table log",
            INSERT,
            "GRANT INSERT ON log to the role, or ALTER FUNCTION audit() SECURITY DEFINER",
        ),
        (
            asyncpg.InsufficientPrivilegeError,
            "keine Berechtigung für Tabelle log",
            SQLS,
            "GRANT the right to the role, or ALTER FUNCTION audit() SECURITY DEFINER",
        ),
        (
            asyncpg.UndefinedTableError,
            'relation "log" does not exist',
            INSERT,
            "write its schema in audit(), or ALTER FUNCTION audit() SET search_path = …",
        ),
        (
            asyncpg.UndefinedColumnError,
            'column "x" does not exist',
            INSERT,
            "correct audit(), which does not fit its tables",
        ),
        (asyncpg.RaiseError, "not this one", INSERT, ""),
        (
            asyncpg.ProgramLimitExceededError,
            'index row size 5968 exceeds btree version 4 maximum 2704 for index "i"',
            "",
            "lower RECONCILER_ERROR_MESSAGE_LIMIT, so that messages fit",
        ),
        (asyncpg.UndefinedTableError, 'relation "jobs" does not exist', "", ""),
    ],
)
def test_how_to_fix_it(
    kind: type[asyncpg.PostgresError], words: str, context: str, expected: str
) -> None:
    assert fix_of(raised(context, words, kind)) == expected
