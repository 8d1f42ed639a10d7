"""Round trips, versions and retentions: which are a warning."""

from __future__ import annotations

from datetime import timedelta

import pytest

from reconciler.doctor.findings import Level
from reconciler.doctor.rules.connection import connected, namespace, temporal
from reconciler.temporal.client.namespace import Namespace

DAY, HOUR = timedelta(days=1), timedelta(hours=1)


@pytest.mark.parametrize(
    ("retention", "archives", "level"),
    [
        (DAY, False, Level.OK),
        (HOUR, False, Level.WARNING),
        (HOUR, True, Level.OK),
    ],
)
def test_a_short_retention_is_a_warning_without_an_archive(
    retention: timedelta, archives: bool, level: Level
) -> None:
    found = Namespace("default", retention, frozenset(), archives)

    assert namespace(found).level is level


def test_a_slow_round_trip_is_a_warning() -> None:
    assert connected("database", "there", timedelta(seconds=1)).level is Level.OK
    assert connected("database", "there", timedelta(seconds=1.1)).level is Level.WARNING
    assert connected("temporal", "there", None).message == "there"


@pytest.mark.parametrize(
    ("version", "level"),
    [
        ("1.32.0", Level.OK),
        ("1.28.0", Level.OK),
        ("1.28.0-rc.1", Level.OK),
        ("v1.31.2", Level.OK),
        ("2.0", Level.OK),
        ("1.27.2", Level.WARNING),
        ("v1.24.2-cloud.7", Level.WARNING),
        ("0.29", Level.WARNING),
        *((odd, Level.OK) for odd in ("", "1", "cloud", "1.", "١.٢", "1.\n", "9" * 6000, "-1.2")),
        (None, Level.OK),
    ],
)
def test_a_server_that_is_too_old_is_a_warning(version: str | None, level: Level) -> None:
    finding = temporal("t:7233", version, None)

    assert (finding.check, finding.level) == ("temporal", level)
    assert "t:7233" in finding.message
    assert "\n" not in finding.message
    if level is Level.WARNING:
        assert "is older than 1.28" in finding.message
        assert finding.fix.startswith("upgrade Temporal to 1.28 or newer")
