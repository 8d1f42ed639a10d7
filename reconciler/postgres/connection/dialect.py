"""SQLAlchemy's asyncpg dialect, made safe for poolers and spared of round trips."""

from __future__ import annotations

from typing import Any

import asyncpg
from sqlalchemy.dialects import registry
from sqlalchemy.dialects.postgresql.asyncpg import PGDialect_asyncpg

from reconciler.postgres.connection.encoding import UTF8, python_codec
from reconciler.postgres.connection.own_text import UTF_8, own_json
from reconciler.postgres.connection.tls import check_files, explain_tls_error

#: What asyncpg raises. The last where a server has said goodbye, but not yet hung up.
DRIVERS_OWN = (asyncpg.PostgresError, asyncpg.InterfaceError, asyncpg.InternalClientError)
#: What is raised where the server has not answered, or not what the driver expects.
SILENT = (asyncpg.InterfaceError, asyncpg.InternalClientError, OSError)


class UnreadableUrl(Exception):
    """asyncpg could not make sense of the URL."""


class PoolerSafeDialect(PGDialect_asyncpg):
    """SQLAlchemy's asyncpg dialect, preparing each new connection inside transactions.

    Setting up its JSON codecs takes several statements and switches `jit` off and on again.
    Outside a transaction a transaction-mode pooler may change the server connection in between,
    so that the set-up fails, or leaves somebody else's connection with `jit` off.
    """

    supports_statement_cache = True

    def __init__(self, limits: str = "", **options: Any) -> None:
        """`limits`: the statement that every transaction begins with."""
        super().__init__(**options)  # type: ignore[no-untyped-call]
        self.limits = limits
        #: Python's codec for the encoding of the database that there is a connection to.
        self.codec = UTF_8
        self._json_serializer = self._as_json

    def connect(self, *arguments: Any, **parameters: Any) -> Any:
        """Connect; tell apart from a server that is away one that TLS will never get through to."""
        try:
            check_files(parameters["dsn"])
            connection = super().connect(*arguments, **parameters)
        except Exception as error:
            if isinstance(error, ValueError) and not isinstance(error, (*DRIVERS_OWN, OSError)):
                # Without asyncpg's words, which may repeat the password.
                raise UnreadableUrl from None
            if trouble := explain_tls_error(error, parameters["dsn"]):
                raise trouble from error
            raise
        settings = connection.driver_connection.get_settings()
        self.codec = python_codec(getattr(settings, "server_encoding", UTF8))
        return connection

    def _as_json(self, value: Any) -> str:
        return own_json(value, self.codec)

    def do_begin(self, dbapi_connection: Any) -> None:
        """Limit the transaction that begins."""
        if not dbapi_connection.autocommit:
            dbapi_connection.cursor().execute(self.limits)

    def do_ping(self, dbapi_connection: Any) -> bool:
        """Ask for nothing, in one round trip; SQLAlchemy makes a transaction of it."""
        try:
            dbapi_connection.run_async(lambda driver: driver.execute("SELECT"))
        except DRIVERS_OWN:
            return False
        return True

    def do_close(self, dbapi_connection: Any) -> None:
        """Say goodbye, but not for longer than two seconds to a server that is silent."""
        dbapi_connection.terminate()

    async def setup_asyncpg_json_codec(self, conn: Any) -> None:
        """Set up the codec of json in one transaction."""
        async with conn.driver_connection.transaction():
            await super().setup_asyncpg_json_codec(conn)  # type: ignore[no-untyped-call]

    async def setup_asyncpg_jsonb_codec(self, conn: Any) -> None:
        """Set up the codec of jsonb in one transaction."""
        async with conn.driver_connection.transaction():
            await super().setup_asyncpg_jsonb_codec(conn)  # type: ignore[no-untyped-call]


registry.register("postgresql.reconciler", __name__, PoolerSafeDialect.__name__)


def limits(*, lock: int, statement: int | None) -> str:
    """What limits a transaction: milliseconds to wait for a lock, and for a statement to take."""
    settings = {
        "lock_timeout": lock,
        # Constants are written for it: without it a backslash in one would mean something.
        "standard_conforming_strings": "on",
        # With it, types are shown in quotes, and none would be recognised.
        "quote_all_identifiers": "off",
        # The journal has keys and values as text, which is to mean the same whenever it is read.
        # In the style ISO a time has its offset: the time zone, which triggers may rely on, stays,
        # and so does the order of day and month in what is given.
        "DateStyle": "ISO",
        "IntervalStyle": "postgres",
        "extra_float_digits": 1,
        "bytea_output": "hex",
        "statement_timeout": statement,
    }
    given = [f"set_config('{n}', '{v}', true)" for n, v in settings.items() if v is not None]
    return "SELECT " + ", ".join(given)
