"""The settings for the application's table."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from reconciler.core.errors import ConfigurationError
from reconciler.core.policy import StatusValues
from reconciler.postgres.table.names import TableNames
from reconciler.settings.load import load_settings
from reconciler.settings.model import Settings
from reconciler.settings.table import TableSettings
from tests.unit.settings.conftest import refusal


def test_a_key_for_the_message(monkeypatch: pytest.MonkeyPatch) -> None:
    assert load_settings(Settings).table_mapping().message_key == "message"
    monkeypatch.setenv("RECONCILER_ERROR_MESSAGE_KEY", "error")
    assert load_settings(Settings).table_mapping().message_key == "error"


@pytest.mark.parametrize(("key", "why"), [("", "must not be empty"), ("a\nb", "must be printable")])
def test_an_invalid_key_for_the_message_is_rejected(
    monkeypatch: pytest.MonkeyPatch, key: str, why: str
) -> None:
    monkeypatch.setenv("RECONCILER_ERROR_MESSAGE_KEY", key)

    assert refusal().startswith(f"RECONCILER_ERROR_MESSAGE_KEY: {why}")


@pytest.mark.parametrize(
    ("text", "zone"), [("", None), ("UTC", "UTC"), ("America/New_York", "America/New_York")]
)
def test_a_time_zone(monkeypatch: pytest.MonkeyPatch, text: str, zone: str | None) -> None:
    monkeypatch.setenv("RECONCILER_TIME_ZONE", text)

    mapping = load_settings(Settings).table_mapping()

    assert (mapping.time_zone, mapping.zone) == (zone, zone or "UTC")


@pytest.mark.parametrize(
    ("text", "example"),
    [
        ("Mars/Phobos", "Europe/Berlin"),
        ("europe/BERLIN", "Europe/Berlin"),
        ("+02:00", "Europe/Berlin"),
        ("../etc/passwd", "Europe/Berlin"),
    ],
)
def test_a_time_zone_that_does_not_exist(
    monkeypatch: pytest.MonkeyPatch, text: str, example: str
) -> None:
    monkeypatch.setenv("RECONCILER_TIME_ZONE", text)

    assert refusal() == (
        f"RECONCILER_TIME_ZONE: must be a time zone, such as {example} (it is {text!r})"
    )


@pytest.mark.parametrize("name", ["run_id", "created_at", "completed_at", "error_message"])
def test_an_empty_name_means_no_such_column(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setenv(f"RECONCILER_COLUMNS__{name.upper()}", "")

    names = load_settings(Settings).table_mapping().names

    without: dict[str, Any] = {name: None}
    assert names == TableNames(**without)
    assert name not in (*names.read, *names.written)


def test_there_may_be_no_value_for_completed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RECONCILER_STATUSES__COMPLETED", "")
    monkeypatch.setenv("RECONCILER_STATUSES__RUNNING", '["on", null]')

    values = load_settings(Settings).status_values()

    assert values == StatusValues(("on", None), None)
    assert values.ends == ("failed",)


@pytest.mark.parametrize("name", ["id", "workflow_id", "status", "workflow_type"])
def test_other_columns_must_have_a_name(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setenv(f"RECONCILER_COLUMNS__{name.upper()}", "")

    assert refusal().startswith(f"RECONCILER_COLUMNS__{name.upper()}: must not be empty")


def test_the_workflow_id_may_be_the_key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RECONCILER_COLUMNS__ID", "workflow_id")

    names = load_settings(Settings).table_mapping().names

    assert (names.id, names.workflow_id) == ("workflow_id", "workflow_id")
    assert names.read == ("workflow_id", "status", "run_id", "created_at")


def test_a_workflow_id_is_composed_of_columns(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RECONCILER_COLUMNS__WORKFLOW_ID", "sync-{id}/{part}")

    assert load_settings(Settings).table_mapping().names.read == (
        *("id", "part", "status", "run_id", "created_at"),
    )


@pytest.mark.parametrize(
    ("template", "why"),
    [
        ("sync-{id", "RECONCILER_COLUMNS__WORKFLOW_ID: has a brace without its counterpart"),
        ("{a}{b}", "RECONCILER_COLUMNS__WORKFLOW_ID: has no text between {a} and {b}"),
        (f"sync-{{{'x' * 64}}}", "RECONCILER_COLUMNS__WORKFLOW_ID: has a column whose name is"),
        (
            "sync-{completed_at}",
            "RECONCILER_COLUMNS__COMPLETED_AT and RECONCILER_COLUMNS__WORKFLOW_ID: a workflow id",
        ),
    ],
)
@pytest.mark.parametrize("kind", [Settings, TableSettings])
def test_an_invalid_template_is_rejected(
    monkeypatch: pytest.MonkeyPatch, template: str, why: str, kind: type[TableSettings]
) -> None:
    monkeypatch.setenv("RECONCILER_COLUMNS__WORKFLOW_ID", template)

    with pytest.raises(ConfigurationError) as refused:
        load_settings(kind)
    assert str(refused.value).startswith(why)


@pytest.mark.parametrize("kind", [Settings, TableSettings])
def test_run_id_or_created_at_is_needed(
    kind: type[TableSettings],
) -> None:
    Path("reconciler.toml").write_text('[columns]\nrun_id = ""\ncreated_at = ""\n')

    with pytest.raises(ConfigurationError, match=r"columns\.created_at: one of them is needed"):
        load_settings(kind)


@pytest.mark.parametrize(
    ("variable", "file"),
    [
        ("pending, running", ""),
        ("", '[statuses]\nrunning = "pending,running"'),
        ("", '[statuses]\nrunning = ["pending", "running"]'),
        (' ["pending", "running"]', ""),
    ],
)
def test_several_values_may_count_as_running(
    monkeypatch: pytest.MonkeyPatch, variable: str, file: str
) -> None:
    Path("reconciler.toml").write_text(file)
    if variable:
        monkeypatch.setenv("RECONCILER_STATUSES__RUNNING", variable)

    assert load_settings(Settings).status_values().running == ("pending", "running")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", "RECONCILER_STATUSES__RUNNING: must not be empty"),
        ("pending,", "RECONCILER_STATUSES__RUNNING: must not be empty"),
        ("on,on", "RECONCILER_STATUSES__RUNNING: names a value twice"),
        (
            "on,failed",
            "RECONCILER_STATUSES__RUNNING and RECONCILER_STATUSES__FAILED: 'failed' cannot stand",
        ),
        ("on\noff", "RECONCILER_STATUSES__RUNNING: cannot be read: new-line character"),
        ("[]", "RECONCILER_STATUSES__RUNNING: must not be empty"),
        ("[null, null]", "RECONCILER_STATUSES__RUNNING: names a value twice"),
        ("[1, [2]]", "RECONCILER_STATUSES__RUNNING: "),
        (
            "[queued, null]",
            "RECONCILER_STATUSES__RUNNING: begins with [ but is not JSON such as [",
        ),
    ],
)
def test_invalid_values_for_running(
    monkeypatch: pytest.MonkeyPatch, text: str, expected: str
) -> None:
    monkeypatch.setenv("RECONCILER_STATUSES__RUNNING", text)

    assert refusal().startswith(expected)


@pytest.mark.parametrize(
    ("variable", "file", "running"),
    [
        ('["queued", null]', "", ("queued", None)),
        ('["a, b"]', "", ("a, b",)),
        ("[false, null]", "", ("false", None)),
        ("[0, 1]", "", ("0", "1")),
        ("", "[statuses]\nrunning = [0, 1]", ("0", "1")),
        ("", "[statuses]\nrunning = '[\"queued\", null]'", ("queued", None)),
    ],
)
def test_null_numbers_and_booleans_may_count_as_running(
    monkeypatch: pytest.MonkeyPatch, variable: str, file: str, running: tuple[str | None, ...]
) -> None:
    Path("reconciler.toml").write_text(file)
    if variable:
        monkeypatch.setenv("RECONCILER_STATUSES__RUNNING", variable)

    assert load_settings(Settings).status_values().running == running


def test_numbers_and_booleans_of_a_file() -> None:
    Path("reconciler.toml").write_text(
        "[statuses]\nrunning = [false]\ncompleted = true\nfailed = 2\n"
    )

    values = load_settings(Settings).status_values()

    assert (values.running, values.completed, values.failed) == (("false",), "true", "2")
