"""Runs the doctor on real servers, in this process."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from reconciler.app.wiring import open_app
from reconciler.core.errors import ReconcilerError
from reconciler.doctor.examine import examine
from reconciler.doctor.findings import Examination, Finding, Level
from reconciler.settings.model import Settings
from tests.conftest import Database, with_user
from tests.support.polling import PATIENCE

Found = dict[str, Finding]
CONNECT = "cannot connect to the database: "


@dataclass
class Patient:
    """A setup that is healthy until the test breaks it."""

    database: Database
    temporal: dict[str, Any]
    settings: dict[str, Any] = field(default_factory=dict)
    #: How far this host's clock is ahead.
    ahead: timedelta = timedelta()
    #: Whether the doctor tries a write.
    trying: bool = False

    def clock(self) -> datetime:
        return datetime.now(UTC) + self.ahead

    def _settings(self) -> Settings:
        given: Mapping[str, Any] = {"database_url": self.database.url, **self.settings}
        return Settings(**given)

    async def examine(self) -> Examination:
        return await examine(self._settings(), self.temporal, clock=self.clock, trying=self.trying)

    async def findings(self, outcome: Level) -> Found:
        """The findings by check; the outcome must be this one."""
        examination = await self.examine()
        found = {finding.check: finding for finding in examination.findings}
        assert examination.outcome is outcome, found
        return found

    async def refusal(self) -> str:
        """The error that a loop ends with at its start."""
        with pytest.raises(ReconcilerError) as refused:
            async with open_app(
                self._settings(), writing=True, looping=True, temporal=self.temporal
            ):
                pass
        return str(refused.value)

    async def failures(self) -> list[Finding]:
        """The failures. Joined, they must be the error of a start, word for word.

        Except for what the start was doing, and for fixes that only the doctor gives.
        """
        findings = (await self.examine()).findings
        failures = [each for each in findings if each.level is Level.FAILURE]
        refusal = await self.refusal()
        if failures[0].check == "database":  # a start has more to do than to connect
            refusal = refusal.replace("cannot read workflow_executions: ", CONNECT)
        advised = (f"{each.message}: {each.fix}" for each in failures)
        texts = [
            text if text in refusal else each.message
            for text, each in zip(advised, failures, strict=True)
        ]
        assert "; ".join(texts) == refusal
        return failures


def levels(found: Found, checks: tuple[str, ...]) -> set[Level]:
    return {found[check].level for check in checks}


async def assert_found(patient: Patient, check: str, level: Level, text: str, fix: str) -> Found:
    """One check finds a problem, and no other does."""
    found = await patient.findings(level)
    finding = found[check]
    assert finding.level is level, found
    assert text in finding.message
    assert fix in finding.fix
    worse = {name for name, each in found.items() if each.level in (Level.WARNING, Level.FAILURE)}
    assert worse == {check}
    return found


@pytest.fixture
def patient(
    database: Database, temporal_address: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> Patient:
    for name in os.environ:
        if name.upper().startswith(("RECONCILER_", "TEMPORAL_", "DATABASE_URL")):
            monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)
    # A slow machine must not cause findings.
    monkeypatch.setattr("reconciler.doctor.runner.CHECK_TIMEOUT", PATIENCE)
    monkeypatch.setattr("reconciler.doctor.examine.STATEMENT_TIMEOUT", 1000 * PATIENCE)
    monkeypatch.setattr("reconciler.doctor.rules.connection.SLOW", timedelta(minutes=1))
    monkeypatch.setattr("reconciler.doctor.checks.database.POOLER_PATIENCE", PATIENCE)
    return Patient(database, {"target_host": temporal_address, "namespace": "default"})


@pytest.fixture
async def role(patient: Patient) -> AsyncIterator[str]:
    """A role without privileges, as which the doctor connects."""
    name = f"doctor_{uuid4().hex[:8]}"
    await patient.database.execute(f"CREATE ROLE {name} LOGIN")
    patient.settings["database_url"] = with_user(patient.database.url, name)
    yield name
    await patient.database.execute(f"DROP OWNED BY {name}; DROP ROLE {name}")
