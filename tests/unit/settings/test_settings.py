"""How settings are loaded, and how invalid ones are rejected."""

from __future__ import annotations

import json
from datetime import timedelta
from pathlib import Path

import pytest

from reconciler.app.backfill import Request
from reconciler.core.errors import ConfigurationError
from reconciler.core.policy import MissingPolicy, StatusValues
from reconciler.postgres.table.names import TableMapping, TableNames
from reconciler.settings.display import resolved_settings
from reconciler.settings.load import load_settings
from reconciler.settings.model import DatabaseSettings, Settings
from reconciler.settings.temporal import temporal_environment
from tests.unit.settings.conftest import refusal


def test_defaults() -> None:
    settings = load_settings(Settings)

    assert settings.policy(timedelta(days=1), None).grace == timedelta(seconds=60)
    assert settings.table_mapping() == TableMapping()
    assert settings.status_values() == StatusValues()
    options = settings.pass_options()
    assert (options.batch_size, options.concurrency, settings.max_rps) == (500, 16, 100)


def test_a_dotenv_in_another_encoding_is_rejected() -> None:
    Path(".env").write_bytes(b"NAME=\xff\xfe\n")

    assert refusal() == ".env cannot be read: is not UTF-8"


@pytest.mark.parametrize(
    "line",
    [
        'RECONCILER_TABLE="jobs',
        "RECONCILER_TABLE: jobs",
        "RECONCILER_TABLE",
        "export reconciler_table",
        "'RECONCILER_TABLE=jobs",
        "DATABASE_URL: postgresql://",
        "DATABASE_URL_FILE",
        "TEMPORAL_ADDRESS",
        "PGSSLMODE: require",
    ],
)
def test_an_unreadable_line_of_a_dotenv_is_rejected(line: str) -> None:
    Path(".env").write_text(f"# ours\n\nNAME=value\n\n{line}\nRECONCILER_GRACE=2h\n")

    assert refusal() == ".env line 5 cannot be read: write NAME=value"


@pytest.mark.parametrize("line", ['NAME="x', "NAME: x", "NAME", "export NAME", "!"])
def test_unreadable_lines_of_other_programs_are_ignored(
    line: str, caplog: pytest.LogCaptureFixture
) -> None:
    Path(".env").write_text(f"{line}\nHOURS=2\nRECONCILER_GRACE=${{HOURS}}h\n")

    assert load_settings(Settings).grace == timedelta(hours=2)
    assert caplog.messages == []


def test_missing_settings_of_both_servers_are_reported_at_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delenv("DATABASE_URL")

    assert refusal().startswith("DATABASE_URL is not set; TEMPORAL_ADDRESS is not set: ")
    with pytest.raises(ConfigurationError, match=r"^DATABASE_URL is not set$"):
        load_settings(DatabaseSettings)

    monkeypatch.setenv("TEMPORAL_ADDRESS", "temporal:7233")
    assert refusal() == "DATABASE_URL is not set"


def test_each_source_is_read_once(monkeypatch: pytest.MonkeyPatch) -> None:
    Path(".env").write_text("RECONCILER_GRACE=2h")
    Path("reconciler.toml").write_text("table = 'jobs'")
    opened = []

    def read(path: str) -> bytes:
        opened.append(path)
        return Path(path).read_bytes()

    monkeypatch.setattr("reconciler.settings.sources.read_file", read)

    resolved_settings(load_settings(Settings))

    assert sorted(opened) == [".env", "reconciler.toml"]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("30", timedelta(seconds=30)),
        ("0.5", timedelta(milliseconds=500)),
        ("30s", timedelta(seconds=30)),
        ("5m", timedelta(minutes=5)),
        ("2h", timedelta(hours=2)),
        ("7d", timedelta(days=7)),
        ("0", timedelta()),
    ],
)
def test_durations(monkeypatch: pytest.MonkeyPatch, text: str, expected: timedelta) -> None:
    monkeypatch.setenv("RECONCILER_GRACE", text)

    assert load_settings(Settings).grace == expected


@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [
        ("RECONCILER_GRACE", "5 parsecs", "must be a number of seconds, or a duration"),
        ("RECONCILER_GRACE", "-1s", "must be a number of seconds, or a duration"),
        ("RECONCILER_GRACE", "9" * 30 + "d", "too long"),
        ("RECONCILER_INTERVAL", "0", "must be at least 1s and at most 365d"),
        ("RECONCILER_JOURNAL_RETENTION", "59m", "must be at least 1h and at most 36500d"),
        ("RECONCILER_BATCH_SIZE", "0", "greater than or equal to 1"),
        ("RECONCILER_CONCURRENCY", "many", "must be a whole number"),
        ("RECONCILER_MAX_RPS", "-1", "must be 0, for no limit, or at least 1"),
        ("RECONCILER_MAX_RPS", "0.5", "must be 0, for no limit, or at least 1"),
        ("RECONCILER_MAX_RPS", "nan", "must be 0, for no limit, or at least 1"),
        ("RECONCILER_STATUSES__COMPLETED", "running", "cannot stand for both running and"),
        ("RECONCILER_STATUSES__TIMED_OUT", "running", "cannot stand for both running and"),
        ("RECONCILER_COLUMNS", "foo", "set its parts, such as RECONCILER_COLUMNS__ID"),
        ("RECONCILER_MISSING", "delete", "'leave' or 'fail'"),
        ("RECONCILER_MAX_MISSING_RATIO", "50", "less than or equal to 1"),
        ("RECONCILER_TABLE", "a.b.c", "must be table or schema.table"),
        ("RECONCILER_TABLE", "my jobs", "must be table or schema.table"),
        ("RECONCILER_TABLE", '"a".', "must be table or schema.table"),
        ("RECONCILER_TABLE", "", "must be table or schema.table"),
        ("RECONCILER_LOG_FORMAT", "xml", "'console' or 'json'"),
        ("RECONCILER_JOURNAL", "false", "must be on or off"),
        ("RECONCILER_COLUMNS__WORKFLOW_ID", "", "must not be empty"),
    ],
)
def test_an_invalid_value_is_named_with_its_variable(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str, expected: str
) -> None:
    monkeypatch.setenv(name, value)

    text = refusal()

    assert name in text
    assert expected in text


def test_several_errors_are_reported_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RECONCILER_BATCH_SIZE", "x")
    monkeypatch.setenv("RECONCILER_MAX_RPS", "y")

    text = refusal()

    assert "RECONCILER_BATCH_SIZE: " in text
    assert "RECONCILER_MAX_RPS: " in text


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("RECONCILER_BATCHSIZE", ", did you mean RECONCILER_BATCH_SIZE?"),
        ("RECONCILER_COLUMNS__RUNID", ", did you mean RECONCILER_COLUMNS__RUN_ID?"),
        ("RECONCILER_ZZZ", ", if another program needs it, list it in RECONCILER_IGNORE"),
    ],
)
def test_an_unknown_setting_is_rejected(
    monkeypatch: pytest.MonkeyPatch, name: str, hint: str
) -> None:
    monkeypatch.setenv(name, "1")

    assert refusal() == f"{name} (environment): there is no such setting{hint}"


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("RECONCILER_SERVICE_HOST", "10.0.0.7"),
        ("RECONCILER_SERVICE_PORT", "8080"),
        ("RECONCILER_SERVICE_PORT_HTTP", "8080"),
        ("RECONCILER_PORT", "tcp://10.0.0.7:8080"),
        ("RECONCILER_PORT_8080_TCP", "tcp://10.0.0.7:8080"),
        ("RECONCILER_PORT_8080_TCP_PROTO", "tcp"),
        ("RECONCILER_STAGING_SERVICE_HOST", "10.0.0.7"),
        ("RECONCILER_STAGING_PORT", "udp://10.0.0.7:8080"),
    ],
)
def test_the_variables_of_a_kubernetes_service_are_ignored(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str
) -> None:
    monkeypatch.setenv(name, value)

    assert load_settings(Settings).batch_size == 500


def test_the_variables_of_a_kubernetes_service_are_not_ignored_in_files(tmp_path: Path) -> None:
    (tmp_path / "reconciler.toml").write_text("service_host = '10.0.0.7'")

    assert refusal().startswith("reconciler.toml: unknown key service_host")


def test_a_port_that_is_not_from_kubernetes_is_rejected(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("RECONCILER_PORT", "8080")

    assert "RECONCILER_PORT (environment): there is no such setting" in refusal()


def test_columns_and_statuses_can_be_mapped(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RECONCILER_TABLE", "shop.jobs")
    monkeypatch.setenv("RECONCILER_COLUMNS__RUN_ID", "first_run")
    monkeypatch.setenv("RECONCILER_STATUSES__FAILED", "broken")
    monkeypatch.setenv("RECONCILER_STATUSES__CANCELED", "stopped")

    settings = load_settings(Settings)

    assert settings.table_mapping().names == TableNames(
        table="jobs", schema="shop", run_id="first_run"
    )
    assert settings.status_values() == StatusValues(
        failed="broken", canceled="stopped", terminated="broken", timed_out="broken"
    )


def test_files_are_read_and_the_environment_wins(monkeypatch: pytest.MonkeyPatch) -> None:
    Path("reconciler.toml").write_text(
        'batch_size = 1\nconcurrency = 1\ngrace = "1m"\n[columns]\nrun_id = "r"\n'
    )
    Path(".env").write_text("RECONCILER_CONCURRENCY=2\nRECONCILER_GRACE=2m\nSECRET_KEY=theirs\n")
    monkeypatch.setenv("RECONCILER_GRACE", "3m")

    settings = load_settings(Settings)

    assert settings.batch_size == 1
    assert settings.columns.run_id == "r"
    assert settings.concurrency == 2
    assert settings.grace == timedelta(minutes=3)


def test_the_variable_config_names_another_file(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    Path("reconciler.toml").write_text("batch_size = 1\nconcurrency = 1\n")
    named = tmp_path / "elsewhere" / "jobs.toml"
    named.parent.mkdir()
    named.write_text("batch_size = 2\n")
    monkeypatch.setenv("RECONCILER_CONFIG", str(named))

    settings = load_settings(Settings)

    assert (settings.batch_size, settings.concurrency) == (2, 16)
    named.write_text("batchsize = 2\n")
    assert refusal() == f"{named}: unknown key batchsize, did you mean batch_size?"


@pytest.mark.parametrize("name", ["missing.toml", "reconciler.toml"])
def test_a_file_that_is_named_must_exist(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setenv("RECONCILER_CONFIG", name)

    assert refusal() == f"{name} cannot be read: No such file or directory"


def test_config_is_read_from_the_environment_only() -> None:
    Path(".env").write_text("RECONCILER_CONFIG=jobs.toml\n")

    assert refusal().startswith("RECONCILER_CONFIG (.env): there is no such setting")


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ("tabel = 'a'", "unknown key tabel, did you mean table?"),
        ("TABLE = 'a'", "unknown key TABLE, did you mean table?"),
        ("RECONCILER_TABLE = 'a'", "unknown key RECONCILER_TABLE, did you mean table?"),
        ("RECONCILER_TABEL = 'a'", "unknown key RECONCILER_TABEL, did you mean table?"),
        (
            "RECONCILER_COLUMNS__ID = 'a'",
            "unknown key RECONCILER_COLUMNS__ID, did you mean columns.id?",
        ),
        (
            "DATABASE_URL = 'a'",
            "unknown key DATABASE_URL, did you mean database_url?",
        ),
        ("[colums]\nid = 1", "unknown key colums.id, did you mean columns.id?"),
        ("[columns]\nnope = 1", "unknown key columns.nope"),
        (
            "[columns]\ntime_zone = 'UTC'",
            "unknown key columns.time_zone: time_zone goes above the first section, and this",
        ),
        ("columns = 'a'", "columns: set its parts, such as columns.id"),
        ("batch_size = 'x'", "batch_size: must be a whole number (it is 'x')"),
        ("[columns]\nid = ''", "columns.id: must not be empty"),
        ("batch_size = ", "not valid TOML: Invalid value"),
    ],
)
def test_errors_in_a_file_are_named_by_their_key(content: str, expected: str) -> None:
    Path("reconciler.toml").write_text(content)

    assert refusal().startswith(f"reconciler.toml: {expected}")


def test_errors_in_dotenv_are_named_by_their_variable() -> None:
    Path(".env").write_text("RECONCILER_BATCHSIZE=1")

    assert refusal().startswith("RECONCILER_BATCHSIZE (.env): there is no such setting")


@pytest.mark.parametrize(
    ("environment", "toml", "names", "column"),
    [
        (
            {"ERROR_MESSAGE": "status"},
            "",
            "RECONCILER_COLUMNS__STATUS and RECONCILER_COLUMNS__ERROR_MESSAGE",
            "status",
        ),
        (
            {},
            "completed_at = 'created_at'",
            "reconciler.toml: columns.created_at and columns.completed_at",
            "created_at",
        ),
        (
            {"STATUS": "key"},
            "workflow_id = 'key'",
            "reconciler.toml: columns.workflow_id and RECONCILER_COLUMNS__STATUS",
            "key",
        ),
    ],
)
def test_two_settings_that_name_the_same_column_are_both_named(
    environment: dict[str, str],
    toml: str,
    names: str,
    column: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name, value in environment.items():
        monkeypatch.setenv(f"RECONCILER_COLUMNS__{name}", value)
    Path("reconciler.toml").write_text(f"[columns]\n{toml}")

    assert refusal() == f"{names}: both name the column {column!r}"


def test_the_shorter_of_limit_and_column_wins(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RECONCILER_ERROR_MESSAGE_LIMIT", "100")

    settings = load_settings(Settings)

    assert settings.policy(timedelta(1), None).error_message_limit == 100
    assert settings.policy(timedelta(1), 50).error_message_limit == 50
    assert settings.policy(timedelta(1), 255).error_message_limit == 100


@pytest.mark.parametrize(("text", "on"), [("on", True), ("off", False), ("OFF", False)])
def test_the_journal_is_switched_on_and_off(
    monkeypatch: pytest.MonkeyPatch, text: str, on: bool
) -> None:
    assert load_settings(Settings).journal

    monkeypatch.setenv("RECONCILER_JOURNAL", text)

    assert load_settings(Settings).journal is on


def test_missing_can_be_failed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RECONCILER_MISSING", "fail")

    assert load_settings(Settings).policy(timedelta(1), None).missing is MissingPolicy.FAIL


@pytest.mark.parametrize(
    "url",
    [
        "",
        "proxy:3128",
        "https://proxy:3128",
        "http://proxy",
        "http://proxy:99999",
        "http://u:s3cret@proxy:3128/path",
        "http://u:s3cret@proxy",
        "http://u:s3cret/1@proxy:3128",
        "http://u:p@s3cret@proxy:3128",
        "http://u:s3crét@proxy:3128",
    ],
)
def test_an_invalid_proxy_is_rejected_without_its_password(
    monkeypatch: pytest.MonkeyPatch, url: str
) -> None:
    monkeypatch.setenv("RECONCILER_TEMPORAL_PROXY", url)

    assert refusal().startswith("RECONCILER_TEMPORAL_PROXY: ")


@pytest.mark.parametrize("url", ["http://proxy:3128", "http://u:s3cret%40@10.0.0.1:3128/"])
def test_a_proxy_is_a_secret(monkeypatch: pytest.MonkeyPatch, url: str) -> None:
    monkeypatch.setenv("RECONCILER_TEMPORAL_PROXY", url)

    settings = load_settings(Settings)

    assert settings.proxy_url == url.removesuffix("/")
    assert "s3cret" not in repr(settings)


def test_temporals_variables_in_the_environment_win_over_dotenv(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    Path(".env").write_text(
        "TEMPORAL_ADDRESS=a:1\nTEMPORAL_NAMESPACE=from-file\nTEMPORAL_API_KEY_FILE=key\n"
    )
    monkeypatch.setenv("TEMPORAL_NAMESPACE", "from-environment")

    environment = temporal_environment()

    assert environment["TEMPORAL_ADDRESS"] == "a:1"
    assert environment["TEMPORAL_NAMESPACE"] == "from-environment"
    assert environment["TEMPORAL_API_KEY_FILE"] == "key"


@pytest.mark.parametrize(
    ("name", "schema", "table"),
    [
        ("jobs", None, "jobs"),
        ("Shop.Jobs", "Shop", "Jobs"),
        ('"My App"."Jobs 1.0"', "My App", "Jobs 1.0"),
        ('shop."a ""b"""', "shop", 'a "b"'),
    ],
)
def test_a_table_may_have_any_name(
    monkeypatch: pytest.MonkeyPatch, name: str, schema: str | None, table: str
) -> None:
    monkeypatch.setenv("RECONCILER_TABLE", name)

    names = load_settings(Settings).table_mapping().names

    assert (names.schema, names.table) == (schema, table)


@pytest.mark.parametrize(
    "change",
    [
        {"RECONCILER_WHERE": "tenant=7"},
        {"RECONCILER_COLUMNS__ID": "number"},
        {"RECONCILER_STATUSES__RUNNING": "pending,running"},
        {"RECONCILER_STATUSES__FAILED": "broken"},
    ],
    ids=str,
)
def test_a_backfill_with_another_mapping_is_not_the_same(
    monkeypatch: pytest.MonkeyPatch, change: dict[str, str]
) -> None:
    before = Request().asked(load_settings(Settings))
    for name, value in change.items():
        monkeypatch.setenv(name, value)

    asked = Request().asked(load_settings(Settings))

    assert asked != before
    assert json.loads(json.dumps(asked)) == asked, "compared with what was stored as JSON"
