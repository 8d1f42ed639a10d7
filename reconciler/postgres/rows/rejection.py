"""What a rejected write concerns: everything, some of its rows, or the time it takes.

| the database says | concerns | because |
|---|---|---|
| nothing: cannot connect, unreadable URL, or no answer | everything | |
| nothing: the connection is lost | in doubt | a row may have caused it, or a pooler's limit |
| FATAL, PANIC, except 25P04 | in doubt | the server has ended the connection, or a trigger has |
| 22 data exception, 23 integrity, P0 RAISE; also asyncpg's DataError | rows | values, constraints |
| 23503 of reconciler's schema | everything | the pass is no longer in the history |
| 57014 (also an operator's cancel), 55P03, 40P01, 25P04 | time | fewer rows take less time |
| 40001 | a race | another transaction moved or changed a row; twice for one row: that row |
| any other code, with a context | rows | a function raised it: a trigger, a policy, a check |
| any other code, without one | in doubt | the same statement without rows decides |
| an exception in Python, such as a codec's | rows | building one row's parameters failed |

For 42501, 42P01, 42703 or 0A000 the context decides: without one the error is about the table or
the role, with one about a trigger's own statement. It decides for 08006 as well: on a live
connection that is a trigger's dblink. A policy's WITH CHECK (42501), a corrupted row (XX001) and an
index entry that is too large (54000) have no context, and the statement without rows succeeds.

53 (disk full, out of memory) and 58 (I/O error) may concern one tablespace, so other rows are
still tried. If none of them can be written either, the error concerns everything.
"""

from __future__ import annotations

from enum import Enum, auto

import asyncpg
from sqlalchemy.exc import SQLAlchemyError

from reconciler.core.errors import Unusable
from reconciler.core.text import one_line
from reconciler.postgres.connection.dialect import SILENT, UnreadableUrl
from reconciler.postgres.connection.engine import STATEMENT_TIMEOUT, driver_error
from reconciler.postgres.connection.function_errors import fix_of, functions_of, place_of
from reconciler.postgres.schema import OWN_SCHEMA


class Concern(Enum):
    """What an error of a write concerns."""

    EVERYTHING = auto()
    ROWS = auto()
    #: The statement took too long, or conflicted with others: a smaller one may not.
    TIME = auto()
    #: Another transaction was changing a row at the same moment.
    RACE = auto()
    #: `EVERYTHING` if the statement fails without rows as well, else `ROWS`.
    DOUBT = auto()
    #: The connection is lost: in doubt each time, and each time it costs a connection.
    LOST = auto()


#: Seconds: see `holds_rows_for`.
RUNS_ON, ENDS_IN = STATEMENT_TIMEOUT / 1000, 2.0
_OUT_OF_TIME = "25P04"
#: By the beginning of the SQLSTATE.
_CONCERNS = {
    "22": Concern.ROWS,
    "23": Concern.ROWS,
    "P0": Concern.ROWS,
    _OUT_OF_TIME: Concern.TIME,
    "40001": Concern.RACE,
    "40P01": Concern.TIME,
    "55P03": Concern.TIME,
    "57014": Concern.TIME,
}
_FOREIGN_KEY = "23503"
_CONNECTION = "08"
#: Insufficient resources and system errors: those of a tablespace, or of the whole server.
_RESOURCES = ("53", "58")


def said(error: BaseException) -> BaseException:
    """The driver's error; the server's reason for ending the connection, if it gave one."""
    error = driver_error(error)
    cause = error.__cause__
    lost = isinstance(error, asyncpg.PostgresConnectionError)
    return cause if lost and isinstance(cause, asyncpg.PostgresError) else error


def concern_of(error: BaseException) -> Concern:
    """What an error of a write concerns."""
    error = driver_error(error)
    if isinstance(error, asyncpg.PostgresError):
        return _of_server(error)
    if isinstance(error, (TimeoutError, SQLAlchemyError, UnreadableUrl, Unusable)):
        return Concern.EVERYTHING
    return Concern.LOST if isinstance(error, SILENT) else Concern.ROWS


def may_concern_rows(error: BaseException | None) -> bool:
    """Whether a read that failed may succeed for fewer rows."""
    return error is not None and concern_of(error) in (Concern.ROWS, Concern.DOUBT)


def _of_server(error: asyncpg.PostgresError) -> Concern:
    code, known = error.sqlstate or "", Concern.DOUBT
    for beginning, concern in _CONCERNS.items():
        if code.startswith(beginning):
            known = concern
    severity = getattr(error, "severity_en", None) or getattr(error, "severity", None)
    # Without a severity the error is the driver's own: it found the connection closed.
    lost = severity is None and code.startswith(_CONNECTION)
    if lost or (severity in ("FATAL", "PANIC") and known is not Concern.TIME):
        return Concern.LOST
    if code == _FOREIGN_KEY and getattr(error, "schema_name", None) == OWN_SCHEMA:
        return Concern.EVERYTHING
    if known is Concern.DOUBT and getattr(error, "context", None):
        return Concern.ROWS
    return known


def holds_rows_for(error: BaseException) -> float:
    """Seconds for which the statement may still lock its rows after this error.

    A server that ended the connection needs a moment to roll back. If a pooler or the network ended
    it, the server continues until the statement's own time limit.
    """
    code = str(getattr(error, "sqlstate", None) or _CONNECTION)
    if concern_of(error) is not Concern.LOST and not code.startswith(_OUT_OF_TIME):
        return 0.0
    return RUNS_ON if code.startswith(_CONNECTION) else ENDS_IN


def is_of_resources(error: BaseException) -> bool:
    """Whether the server itself, not a function, lacked resources."""
    code = str(getattr(error, "sqlstate", None) or "")
    return code.startswith(_RESOURCES) and not getattr(error, "context", None)


def words_of(error: BaseException) -> str:
    """The error in one line, for the row that it concerns, with the function that raised it.

    Without PostgreSQL's details, which may contain the whole row.
    """
    if isinstance(error, SILENT):
        return f"the connection was lost: {one_line(str(error), 300) or type(error).__name__}"
    if not isinstance(error, asyncpg.PostgresError):
        return f"internal error: {one_line(repr(error), 300)}"
    words = one_line(str(error.args[0] if error.args else error), 300) or type(error).__name__
    words += f", {place}" if (place := place_of(error)) else ""
    return f"{words}: {fix}" if (fix := fix_of(error)) else words


def rule_of(error: BaseException) -> tuple[str, ...]:
    """What rejected a row: the same for every row that it rejects."""
    names = ("sqlstate", "table_name", "constraint_name")
    given = (str(getattr(error, name, "")) for name in names)
    return (type(error).__name__, *given, *functions_of(error))
