"""RECONCILER_IGNORE: names with our prefix that belong to other programs."""

from __future__ import annotations

from pathlib import Path

import pytest

from reconciler.settings.load import load_settings
from reconciler.settings.model import Settings
from tests.unit.settings.conftest import refusal


@pytest.fixture(autouse=True)
def of_another_program(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RECONCILER_JOB_QUEUE", "fast")


@pytest.mark.parametrize(
    "ignore",
    [
        "RECONCILER_JOB_QUEUE",
        "reconciler_job_queue, RECONCILER_NOT_SET,",
        "RECONCILER_JOB_*",
    ],
)
def test_a_listed_name_is_no_error(monkeypatch: pytest.MonkeyPatch, ignore: str) -> None:
    monkeypatch.setenv("RECONCILER_IGNORE", ignore)

    load_settings(Settings)


def test_it_may_be_in_a_file(tmp_path: Path) -> None:
    (tmp_path / "reconciler.toml").write_text("ignore = ['RECONCILER_JOB_QUEUE']")

    assert load_settings(Settings).ignore == ("RECONCILER_JOB_QUEUE",)


def test_a_name_that_is_not_listed_is_rejected(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RECONCILER_IGNORE", "RECONCILER_JOB,RECONCILER_JOBS_*")

    assert "RECONCILER_JOB_QUEUE (environment): there is no such setting" in refusal()


def test_a_key_of_our_own_file_cannot_be_listed(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("RECONCILER_IGNORE", "RECONCILER_JOB_QUEUE")
    (tmp_path / "reconciler.toml").write_text("job_queue = 'fast'")

    assert refusal().startswith("reconciler.toml: unknown key job_queue")


@pytest.mark.parametrize(
    ("ignore", "setting"),
    [
        ("RECONCILER_TABLE", "RECONCILER_TABLE"),
        ("RECONCILER_CONFIG", "RECONCILER_CONFIG"),
        ("RECONCILER_MAX_*", "RECONCILER_MAX_MISSING_RATIO"),
        ("RECONCILER_COLUMNS__*", "RECONCILER_COLUMNS__"),
    ],
)
def test_a_setting_cannot_be_listed(
    monkeypatch: pytest.MonkeyPatch, ignore: str, setting: str
) -> None:
    monkeypatch.setenv("RECONCILER_IGNORE", ignore)

    text = refusal()

    assert text.startswith(f"RECONCILER_IGNORE: {ignore} would ignore the setting RECONCILER_")
    assert text.endswith(": list names of other programs only")


@pytest.mark.parametrize(
    "ignore", ["RECONCILER_*", "*", "JOB_QUEUE", "RECONCILER_*_QUEUE", "RECONCILER_JOB QUEUE"]
)
def test_what_is_not_a_name_is_rejected(monkeypatch: pytest.MonkeyPatch, ignore: str) -> None:
    monkeypatch.setenv("RECONCILER_IGNORE", ignore)

    assert refusal().startswith("RECONCILER_IGNORE: must be names such as RECONCILER_JOB_QUEUE")
