"""Runs the checks of one server one after another. Each has a time limit and may fail alone."""

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
    """The checks of one server. Once it does not answer, the remaining checks are skipped."""

    def __init__(self, server: str, fix: str, slower: float = 0.0) -> None:
        """`fix`: the advice for errors that have none.

        `slower`: seconds that a connection may take in addition to the usual ones.
        """
        self.findings: list[Finding] = []
        #: Why the remaining checks are skipped; None while the server answers.
        self.unreachable: str | None = None
        self._server, self._fix, self._slower = server, fix, slower

    async def check(
        self, name: str, ask: Ask, *, covers: Sequence[str] = (), vital: bool = False
    ) -> None:
        """Run a check; `covers` names the other checks whose findings it also returns.

        If a vital check fails, the remaining ones are skipped.
        """
        if self.unreachable is not None:
            self._skip((name, *covers), self.unreachable)
        elif not await self._succeeds(name, ask, vital=vital):
            self._skip(covers, f"see {name}")

    def _skip(self, names: Sequence[str], why: str) -> None:
        self.findings += [not_checked(name, self.unreachable or why) for name in names]

    async def _succeeds(self, name: str, ask: Ask, *, vital: bool) -> bool:
        """Add what the check finds, or why it could not be made."""
        limit = CHECK_TIMEOUT + self._slower
        try:
            async with asyncio.timeout(limit):
                self.findings += await ask()
        except TimeoutError:
            text = f"no answer within {limit:.0f} s"
            self._failed(failure(name, text, self._fix), unreachable=True)
        except (DatabaseUnfit, TemporalUnfit) as error:  # it answers
            self._failed(of_error(name, error, self._fix), unreachable=vital)
        except Unusable as error:
            if sqlstate(error.__cause__) == STATEMENT_TIMEDOUT:
                self._failed(_too_slow(name), unreachable=vital)
            else:
                self._failed(of_error(name, error, self._fix), unreachable=True)
        else:
            return True
        return False

    def _failed(self, finding: Finding, *, unreachable: bool) -> None:
        self.findings.append(finding)
        if unreachable:
            self.unreachable = f"no connection to {self._server}"


def _too_slow(check: str) -> Finding:
    return warning(
        check,
        f"the database took more than {STATEMENT_TIMEOUT / 1000:.0f} s to answer",
        "check the load of the database, and whether the partial index exists",
    )
