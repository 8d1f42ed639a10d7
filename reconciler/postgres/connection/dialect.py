"""SQLAlchemy's asyncpg dialect, made safe for poolers, with fewer round trips."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import asyncpg
import sqlalchemy as sa
from sqlalchemy.dialects import registry
from sqlalchemy.dialects.postgresql.asyncpg import PGDialect_asyncpg

from reconciler.postgres.connection.encoding import UTF8, python_codec, storable_json
from reconciler.postgres.connection.socket_options import set_options
from reconciler.postgres.connection.tls import check_files, explain_tls_error

#: What asyncpg raises; the last one if a server has announced the end of a connection.
DRIVERS_OWN = (asyncpg.PostgresError, asyncpg.InterfaceError, asyncpg.InternalClientError)
#: What is raised if the server did not answer, or not as the driver expects.
SILENT = (asyncpg.InterfaceError, asyncpg.InternalClientError, OSError)


class UnreadableUrl(Exception):
    """asyncpg could not make sense of the URL."""


class PoolerSafeDialect(PGDialect_asyncpg):
    """SQLAlchemy's asyncpg dialect, which sets up each new connection inside transactions.

    Setting up its JSON codecs takes several statements and switches `jit` off and on again.
    Outside a transaction, a transaction-mode pooler may change the server connection in between:
    then the set-up fails, or leaves another client's connection with `jit` off.
    """

    supports_statement_cache = True

    def __init__(self, limits: str = "", **options: Any) -> None:
        """`limits`: the statement that every transaction begins with."""
        super().__init__(**options)  # type: ignore[no-untyped-call]
        self.limits = limits
        #: Python's codec for the database's encoding, once connected.
        self.codec = python_codec(UTF8)
        self._json_serializer = self._as_json

    def connect(self, *arguments: Any, **parameters: Any) -> Any:
        """Connect. Raises `DatabaseUnfit` if TLS can never work: a loop need not wait for that."""
        options = parameters.pop("socket_options")
        try:
            check_files(parameters["dsn"])
            connection = super().connect(*arguments, **parameters)
        except Exception as error:
            if isinstance(error, ValueError) and not isinstance(error, (*DRIVERS_OWN, OSError)):
                # Without asyncpg's message, which may contain the password.
                raise UnreadableUrl from None
            if trouble := explain_tls_error(error, parameters["dsn"]):
                raise trouble from error
            raise
        set_options(connection.driver_connection, options)
        settings = connection.driver_connection.get_settings()
        self.codec = python_codec(getattr(settings, "server_encoding", UTF8))
        return connection

    def on_connect(self) -> Callable[[Any], None]:
        """Set up a new connection, and close it if that is interrupted.

        Before 2.0.58 SQLAlchemy forgets such a connection, and leaves it open.
        """
        set_up = super().on_connect()  # type: ignore[no-untyped-call]

        def set_up_or_close(connection: Any) -> None:
            with _closed_if_interrupted(connection):
                set_up(connection)

        return set_up_or_close

    def initialize(self, connection: sa.Connection) -> None:
        """Ask the first connection for what all have in common; likewise."""
        with _closed_if_interrupted(connection.connection.dbapi_connection):
            super().initialize(connection)  # type: ignore[no-untyped-call]

    def do_rollback(self, dbapi_connection: Any) -> None:
        """Roll back; likewise, as the set-up of the first connection ends with this."""
        with _closed_if_interrupted(dbapi_connection):
            super().do_rollback(dbapi_connection)  # type: ignore[no-untyped-call]

    def _as_json(self, value: Any) -> str:
        return storable_json(value, self.codec)

    def do_begin(self, dbapi_connection: Any) -> None:
        """Set the limits of a new transaction."""
        if not dbapi_connection.autocommit:
            dbapi_connection.cursor().execute(self.limits)

    def do_ping(self, dbapi_connection: Any) -> bool:
        """Send an empty query, in one round trip. SQLAlchemy would use a transaction."""
        try:
            dbapi_connection.run_async(lambda driver: driver.execute("SELECT"))
        except DRIVERS_OWN:
            return False
        return True

    def do_close(self, dbapi_connection: Any) -> None:
        """Close gracefully, but wait at most two seconds for a server that does not answer."""
        dbapi_connection.terminate()

    async def setup_asyncpg_json_codec(self, conn: Any) -> None:
        """Set up the codec of json in one transaction."""
        async with conn.driver_connection.transaction():
            await super().setup_asyncpg_json_codec(conn)  # type: ignore[no-untyped-call]

    async def setup_asyncpg_jsonb_codec(self, conn: Any) -> None:
        """Set up the codec of jsonb in one transaction."""
        async with conn.driver_connection.transaction():
            await super().setup_asyncpg_jsonb_codec(conn)  # type: ignore[no-untyped-call]


@contextmanager
def _closed_if_interrupted(connection: Any) -> Iterator[None]:
    try:
        yield
    except BaseException:
        connection.terminate()
        raise


registry.register("postgresql.reconciler", __name__, PoolerSafeDialect.__name__)


def limits(*, lock: int, statement: int | None, idle: int | None) -> str:
    """The statement that limits a transaction.

    In milliseconds: for a lock, for a statement, and between two statements.
    """
    settings = {
        "lock_timeout": lock,
        "idle_in_transaction_session_timeout": idle,
        # The constants in the SQL rely on it: without it, a backslash would be an escape.
        "standard_conforming_strings": "on",
        # With it, the names of types have quotes and are not recognised.
        "quote_all_identifiers": "off",
        # The journal stores keys and values as text, which must mean the same whenever it is read.
        # In ISO style a time has its offset. The time zone and the order of day and month are left
        # alone: triggers may rely on them.
        "DateStyle": "ISO",
        "IntervalStyle": "postgres",
        "extra_float_digits": 1,
        "bytea_output": "hex",
        "statement_timeout": statement,
    }
    given = [f"set_config('{n}', '{v}', true)" for n, v in settings.items() if v is not None]
    return "SELECT " + ", ".join(given)
