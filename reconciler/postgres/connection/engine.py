"""Connections that work behind poolers and are limited in time; errors in one line each."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Any, TypeAlias

import asyncpg
import sqlalchemy as sa
from sqlalchemy.exc import DBAPIError, SQLAlchemyError, StatementError
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine

from reconciler.core.errors import ConfigurationError, DatabaseUnfit, DatabaseUnusable
from reconciler.core.text import one_line
from reconciler.host.cancellation import wait_until_done
from reconciler.postgres.connection.dialect import (
    DRIVERS_OWN,
    PoolerSafeDialect,
    UnreadableUrl,
    limits,
)
from reconciler.postgres.connection.function_errors import fix_of, place_of
from reconciler.postgres.connection.pooler_refusals import Refusal, known_refusal
from reconciler.postgres.connection.socket_options import read_link

#: Seconds to connect; and to wait for any answer, longer than the server's own limits.
CONNECT_TIMEOUT = 10
COMMAND_TIMEOUT = 60
#: Milliseconds, set in every transaction of a pass.
STATEMENT_TIMEOUT = 30_000
LOCK_TIMEOUT = 5_000
#: A machine that freezes, or is lost without a word, must not hold rows until the server notices by
#: itself: that takes two hours by default.
IDLE_TIMEOUT = 15_000
#: Compiled statements that are kept. Each pass of the loop maps the table again, and statements of
#: the old mapping are never used again: SQLAlchemy's default of 500 keeps 25 MB of them.
COMPILED_STATEMENTS = 50
#: Connections that may be open at once, for each of the targets that share an engine. A loop uses
#: four at most: it passes, polls, claims its lease and shows its page. So nobody waits for a target
#: whose statements hang, each until a time limit ends it.
CONNECTIONS_OF_TARGET = 14
#: Connections that are kept when they are idle, and how many targets add another.
KEPT_CONNECTIONS, TARGETS_PER_KEPT = 4, 4
#: PostgreSQL's code for a statement that exceeded its time limit.
STATEMENT_TIMEDOUT = "57014"
#: And for one that the role may not execute.
FORBIDDEN = "42501"
#: And for a character that the database's encoding, or the client's, does not have.
UNTRANSLATABLE = "22P05"

#: The URL, or a function that returns it for each new connection: passwords may be rotated.
Dsn: TypeAlias = str | Callable[[], str]


def open_engine(
    dsn: Dsn,
    *,
    statement_timeout: int | None = STATEMENT_TIMEOUT,
    pooled: bool = True,
    pinged: bool = True,
    targets: int = 1,
) -> AsyncEngine:
    """An engine that works behind a transaction-mode pooler.

    Such a pooler gives each transaction any server connection, so nothing may outlive one: time
    limits are set per transaction, and statements are prepared without a name. libpq's parameters
    in the URL mean what they mean elsewhere.

    `statement_timeout` (milliseconds) is off for migrations, as is the limit for an idle
    transaction: building an index takes its time.
    `pooled=False` keeps no idle connection: each would occupy one of a session-mode pooler's.
    `pinged=False` is for callers that retry by themselves on a dead connection.
    `targets`: how many share it.
    """
    arguments: dict[str, Any] = {
        "command_timeout": None if statement_timeout is None else COMMAND_TIMEOUT,
        "statement_cache_size": 0,
        "prepared_statement_cache_size": 0,
        "prepared_statement_name_func": str,  # str() == "": the unnamed statement
    }
    idle = None if statement_timeout is None else IDLE_TIMEOUT
    kept = KEPT_CONNECTIONS + (targets - 1) // TARGETS_PER_KEPT
    more = targets * CONNECTIONS_OF_TARGET - kept
    pool: dict[str, Any] = {"pool_pre_ping": pinged, "pool_size": kept, "max_overflow": more}
    engine = create_async_engine(
        "postgresql+reconciler://",
        connect_args=arguments,
        **(pool if pooled else {"poolclass": sa.NullPool}),
        isolation_level="READ COMMITTED",  # the guarded write relies on it
        limits=limits(lock=LOCK_TIMEOUT, statement=statement_timeout, idle=idle),
        query_cache_size=targets * COMPILED_STATEMENTS,
    )
    _use_current_dsn(engine, dsn)
    return engine


def _use_current_dsn(engine: AsyncEngine, dsn: Dsn) -> None:
    """Make each new connection use the URL as it is at that time."""

    @sa.event.listens_for(engine.sync_engine, "do_connect")
    def use(_: Any, __: Any, ___: Any, arguments: dict[str, Any]) -> None:
        try:
            link = read_link(dsn if isinstance(dsn, str) else dsn())
        except ConfigurationError as error:  # the file existed at the start and may come back
            raise DatabaseUnusable(f"cannot connect to the database: {error}") from None
        except ValueError:
            raise UnreadableUrl from None
        arguments["dsn"], arguments["socket_options"] = link.dsn, link.options
        arguments["timeout"] = link.connect_timeout or CONNECT_TIMEOUT
        if link.application_name is None:
            arguments["server_settings"] = {"application_name": "reconciler"}


@asynccontextmanager
async def using_engine(dsn: Dsn) -> AsyncIterator[AsyncEngine]:
    """An engine whose connections are closed afterwards."""
    engine = open_engine(dsn)
    try:
        yield engine
    finally:
        await close(engine)


async def close(engine: AsyncEngine) -> None:
    """Close all connections, also if cancelled meanwhile: half done, that logs a traceback.

    Takes up to two seconds if a server does not answer.
    """
    closing = asyncio.ensure_future(engine.dispose())
    await wait_until_done(closing)
    closing.result()


async def forget_connections(engine: AsyncEngine) -> None:
    """Start over with an empty pool, and drop the idle connections of the old one.

    They may be dead, or lead to a server that has become read-only, which a ping does not show.
    Connections in use are closed when they are returned: the old pool would keep them open.
    """
    old = engine.sync_engine.pool
    await engine.dispose(close=False)
    sa.event.listen(old, "checkin", lambda _, record: record.invalidate())
    old.dispose()  # outside of SQLAlchemy's greenlets, so it closes without waiting


@contextmanager
def translated(doing: str, engine: AsyncEngine | None = None) -> Iterator[None]:
    """Turn a driver's error into `DatabaseUnusable`, which says what failed and why.

    `DatabaseUnfit` if the database itself refused the statement. Pass `engine` if it may be the
    application's: then the fix is not in reconciler's settings.
    """
    is_own = engine is None or isinstance(engine.dialect, PoolerSafeDialect)
    source = "DATABASE_URL" if is_own else "the application's engine"
    try:
        yield
    except (SQLAlchemyError, *DRIVERS_OWN, OSError) as error:
        misconfigured = isinstance(driver_error(error), asyncpg.ClientConfigurationError)
        refusal = _by_pooler(error)
        lasts = refusal is not None and refusal.lasts
        refused = misconfigured or lasts or sqlstate(error).startswith(_REFUSALS)
        kind = DatabaseUnfit if refused else DatabaseUnusable
        problem, fix = _explain(error, source)
        raise kind(f"cannot {doing}: {problem}", fix) from error
    except UnreadableUrl:
        raise DatabaseUnfit(
            f"cannot {doing}: {source} cannot be parsed", "percent-encode special characters in it"
        ) from None


def driver_error(error: BaseException) -> BaseException:
    """The error that the driver or a codec raised, without SQLAlchemy's wrapping."""
    if isinstance(error, StatementError) and error.orig is not None:
        return (isinstance(error, DBAPIError) and error.orig.__cause__) or error.orig
    return error


def sqlstate(error: BaseException | None) -> str:
    """PostgreSQL's code for an error; empty if the error is not PostgreSQL's."""
    origin = getattr(error, "orig", None) or error
    return str(getattr(origin, "sqlstate", None) or "")


# SQLSTATE classes: data exception, integrity violation, wrong user or password, no such database,
# no such object or privilege, and PL/pgSQL's RAISE.
_REFUSALS = ("22", "23", "28", "3D", "42", "P0")


def _explain(error: BaseException, source: str) -> tuple[str, str]:
    """What went wrong, and the fix (empty: unknown)."""
    origin, check = driver_error(error), f"check {source}"
    if isinstance(origin, TimeoutError):
        return "the database did not answer in time", check
    if isinstance(origin, OSError):
        return f"the database is unreachable ({_text(origin)})", check
    if isinstance(origin, _BAD_URL):
        return _text(origin), check
    if refusal := _by_pooler(error):
        return _text(origin), refusal.fix.format(source=source)
    place = place_of(origin)
    return f"{_text(origin)}, {place}" if place else _text(origin), fix_of(origin)


def _by_pooler(error: BaseException) -> Refusal | None:
    return known_refusal(sqlstate(error), str(driver_error(error)))


_BAD_URL = (
    asyncpg.InvalidAuthorizationSpecificationError,
    asyncpg.InvalidCatalogNameError,
    asyncpg.InvalidPasswordError,
    asyncpg.ClientConfigurationError,
)


def _text(error: BaseException) -> str:
    return one_line(str(error), 300) or type(error).__name__
