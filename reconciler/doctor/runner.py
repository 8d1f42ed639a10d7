"""One check after the other against one server: bounded in time, and none fails for another."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence

from reconciler.core.errors import DatabaseUnfit, TemporalUnfit, Unusable
from reconciler.doctor.findings import Finding, failure, not_checked, of_error, warning
from reconciler.postgres.connection.engine import STATEMENT_TIMEDOUT, sqlstate

#: Seconds that a check may take; a connection has ten, a statement five.
CHECK_TIMEOUT = 15.0
#: Milliseconds.
STATEMENT_TIMEOUT = 5_000

Ask = Callable[[], Awaitable[Sequence[Finding]]]


class Checks:
    """The checks of one server. Once it does not answer, it is not asked again."""

    def __init__(self, server: str, fix: str) -> None:
        """`fix`: what to check where an error does not say it."""
        self.findings: list[Finding] = []
        #: Why nothing can be asked.
        self.gone: str | None = None
        self._server, self._fix = server, fix

    async def check(
        self, name: str, ask: Ask, *, also: Sequence[str] = (), vital: bool = False
    ) -> None:
        """Make a check, which may yield findings called otherwise `also`.

        If it is vital and fails, those that follow are not made.
        """
        if self.gone is not None:
            self._skip((name, *also), self.gone)
        elif not await self._made(name, ask, vital=vital):
            self._skip(also, f"see {name}")

    def _skip(self, names: Sequence[str], why: str) -> None:
        self.findings += [not_checked(name, self.gone or why) for name in names]

    async def _made(self, name: str, ask: Ask, *, vital: bool) -> bool:
        """Whether the check itself had its say; if not, why is told in its place."""
        try:
            async with asyncio.timeout(CHECK_TIMEOUT):
                self.findings += await ask()
        except TimeoutError:
            text = f"no answer within {CHECK_TIMEOUT:.0f} s"
            self._failed(failure(name, text, self._fix), gone=True)
        except (DatabaseUnfit, TemporalUnfit) as error:  # it answers
            self._failed(of_error(name, error, self._fix), gone=vital)
        except Unusable as error:
            if sqlstate(error.__cause__) == STATEMENT_TIMEDOUT:
                self._failed(_too_long(name), gone=vital)
            else:
                self._failed(of_error(name, error, self._fix), gone=True)
        else:
            return True
        return False

    def _failed(self, finding: Finding, *, gone: bool) -> None:
        self.findings.append(finding)
        if gone:
            self.gone = f"no connection to {self._server}"


def _too_long(check: str) -> Finding:
    return warning(
        check,
        f"the database needs more than {STATEMENT_TIMEOUT / 1000:.0f} s for it",
        "see whether it is busy, and whether the partial index is there",
    )
