"""A check that fails does not stop the others, unless the server is unreachable."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import asyncpg
import pytest

from reconciler.core.errors import DatabaseUnfit, DatabaseUnusable, Unusable
from reconciler.doctor import runner as module
from reconciler.doctor.findings import Finding, Level, ok
from reconciler.doctor.runner import Checks


async def passing() -> Sequence[Finding]:
    return [ok("b", "fine")]


class Raising:
    def __init__(self, error: Exception, cause: Exception | None = None) -> None:
        error.__cause__ = cause
        self._error = error

    async def __call__(self) -> Sequence[Finding]:
        raise self._error


def levels(checks: Checks) -> list[Level]:
    return [finding.level for finding in checks.findings]


async def after(error: Unusable, cause: Exception | None = None, *, vital: bool = False) -> Checks:
    checks = Checks("the database", "check DATABASE_URL")
    await checks.check("a", Raising(error, cause), vital=vital)
    await checks.check("b", passing)
    return checks


async def test_a_server_that_refuses_one_check_is_asked_the_next() -> None:
    checks = await after(DatabaseUnfit("no such table", "set RECONCILER_TABLE"))

    assert levels(checks) == [Level.FAILURE, Level.OK]
    assert checks.findings[0].fix == "set RECONCILER_TABLE"


async def test_a_server_that_refuses_the_connection_is_not_asked_again() -> None:
    checks = await after(DatabaseUnfit("wrong password"), vital=True)

    assert levels(checks) == [Level.FAILURE, Level.SKIPPED]
    assert checks.findings[0].fix == "check DATABASE_URL"
    assert checks.findings[1].message == "not checked: no connection to the database"


async def test_an_unreachable_server_is_not_asked_again() -> None:
    assert levels(await after(DatabaseUnusable("unreachable"))) == [Level.FAILURE, Level.SKIPPED]


async def test_a_statement_that_takes_too_long_is_only_a_warning() -> None:
    checks = await after(DatabaseUnusable("slow"), asyncpg.QueryCanceledError("timeout"))

    assert levels(checks) == [Level.WARNING, Level.OK]


async def test_a_silent_server_is_waited_for_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def silence() -> Sequence[Finding]:
        await asyncio.Event().wait()
        return []

    monkeypatch.setattr(module, "CHECK_TIMEOUT", 0.01)
    checks = Checks("the database", "check DATABASE_URL")
    await checks.check("a", silence)
    await checks.check("b", silence, covers=["c"])

    assert [finding.check for finding in checks.findings] == ["a", "b", "c"]
    assert levels(checks) == [Level.FAILURE, Level.SKIPPED, Level.SKIPPED]


@pytest.mark.parametrize(
    ("error", "why"),
    [(DatabaseUnfit("no"), "see a"), (DatabaseUnusable("no"), "no connection to the database")],
)
async def test_what_a_failed_check_covers_is_skipped(error: Unusable, why: str) -> None:
    checks = Checks("the database", "")
    await checks.check("a", Raising(error), covers=["b"])

    assert [finding.check for finding in checks.findings] == ["a", "b"]
    assert checks.findings[1].message == f"not checked: {why}"


async def test_a_url_with_a_longer_time_limit_is_given_that_time(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def late() -> Sequence[Finding]:
        await asyncio.sleep(0.1)
        return [ok("a", "")]

    monkeypatch.setattr(module, "CHECK_TIMEOUT", 0.01)
    checks = Checks("the database", "check DATABASE_URL", slower=60)
    await checks.check("a", late)

    assert levels(checks) == [Level.OK]
