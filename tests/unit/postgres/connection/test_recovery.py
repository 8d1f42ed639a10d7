"""Which errors another connection may cure, whichever driver raises them."""

from __future__ import annotations

import asyncpg
import pytest
from sqlalchemy.exc import OperationalError

from reconciler.core.errors import DatabaseUnusable
from reconciler.postgres.connection.recovery import is_of_connection, is_race


class DriverError(Exception):
    """As psycopg raises them: with PostgreSQL's code."""

    def __init__(self, code: str) -> None:
        super().__init__()
        self.sqlstate = code


def raised(cause: BaseException) -> DatabaseUnusable:
    error = DatabaseUnusable("cannot write")
    error.__cause__ = cause
    return error


@pytest.mark.parametrize(
    "code", ["25006", "08000", "08006", "57P01", "57P02", "57P03", "57P05", "25P03"]
)
def test_codes_of_a_connection(code: str) -> None:
    assert is_of_connection(raised(OperationalError("", {}, DriverError(code))))
    assert is_of_connection(raised(asyncpg.PostgresError.new({"C": code, "M": "no"})))


@pytest.mark.parametrize(
    "error",
    [
        asyncpg.InterfaceError("connection is closed"),
        asyncpg.InternalClientError("got result for unknown protocol state 3"),
        ConnectionResetError(),
        OperationalError("", {}, Exception(), connection_invalidated=True),
    ],
)
def test_errors_without_a_code(error: Exception) -> None:
    assert is_of_connection(raised(error))


@pytest.mark.parametrize("code", ["40001", "40P01"])
def test_races(code: str) -> None:
    error = raised(OperationalError("", {}, DriverError(code)))

    assert is_race(error)
    assert not is_of_connection(error)


@pytest.mark.parametrize("code", ["57014", "55P03", "53300", "42501", "23505", "25P02"])
def test_others(code: str) -> None:
    error = raised(OperationalError("", {}, DriverError(code)))

    assert not is_race(error)
    assert not is_of_connection(error)


def test_an_error_that_was_not_the_driver_s() -> None:
    assert not is_of_connection(DatabaseUnusable("no answer"))
    assert not is_race(DatabaseUnusable("no answer"))
