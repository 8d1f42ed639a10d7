"""A check that fails keeps no other from being made, unless there is nobody to ask any more."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import asyncpg
import pytest

from reconciler.core.errors import DatabaseUnfit, DatabaseUnusable, Unusable
from reconciler.doctor import runner as module
from reconciler.doctor.findings import Finding, Level, ok
from reconciler.doctor.runner import Checks


async def well() -> Sequence[Finding]:
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
    await checks.check("b", well)
    return checks


async def test_a_server_that_refuses_one_thing_is_asked_for_the_next() -> None:
    checks = await after(DatabaseUnfit("no such table", "set RECONCILER_TABLE"))

    assert levels(checks) == [Level.FAILURE, Level.OK]
    assert checks.findings[0].fix == "set RECONCILER_TABLE"


async def test_a_server_that_refuses_the_connection_is_not_asked_again() -> None:
    checks = await after(DatabaseUnfit("wrong password"), vital=True)

    assert levels(checks) == [Level.FAILURE, Level.SKIPPED]
    assert checks.findings[0].fix == "check DATABASE_URL"
    assert checks.findings[1].message == "not checked: no connection to the database"


async def test_a_server_that_is_away_is_not_asked_again() -> None:
    assert levels(await after(DatabaseUnusable("away"))) == [Level.FAILURE, Level.SKIPPED]


async def test_a_statement_that_takes_too_long_is_a_worry_and_no_more() -> None:
    checks = await after(DatabaseUnusable("slow"), asyncpg.QueryCanceledError("timeout"))

    assert levels(checks) == [Level.WARNING, Level.OK]


async def test_a_server_that_is_silent_is_not_waited_for_twice(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def silence() -> Sequence[Finding]:
        await asyncio.Event().wait()
        return []

    monkeypatch.setattr(module, "CHECK_TIMEOUT", 0.01)
    checks = Checks("the database", "check DATABASE_URL")
    await checks.check("a", silence)
    await checks.check("b", silence, also=["c"])

    assert [finding.check for finding in checks.findings] == ["a", "b", "c"]
    assert levels(checks) == [Level.FAILURE, Level.SKIPPED, Level.SKIPPED]


async def test_what_a_check_would_have_said_besides_is_not_forgotten() -> None:
    checks = Checks("the database", "")
    await checks.check("a", Raising(DatabaseUnfit("no")), also=["b"])

    assert [finding.check for finding in checks.findings] == ["a", "b"]
    assert checks.findings[1].message == "not checked: see a"
