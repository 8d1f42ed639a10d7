from __future__ import annotations

import json
import os
from datetime import timedelta
from pathlib import Path

import pytest

from reconciler.app.backfill import Request
from reconciler.core.errors import ConfigurationError
from reconciler.core.verdict import MissingPolicy, StatusValues
from reconciler.postgres.table.names import TableMapping, TableNames
from reconciler.settings.load import load_settings, temporal_environment
from reconciler.settings.model import Settings

URL = "postgresql://app:s3cret@db:5432/app"


@pytest.fixture(autouse=True)
def clean(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No settings but the test's own."""
    for name in os.environ:
        if name.upper().startswith(("RECONCILER_", "TEMPORAL_")):
            monkeypatch.delenv(name)
    monkeypatch.setenv("DATABASE_URL", URL)
    monkeypatch.chdir(tmp_path)


def refusal() -> str:
    with pytest.raises(ConfigurationError) as refused:
        load_settings(Settings)
    text = str(refused.value)
    assert "\n" not in text
    assert "s3cret" not in text
    return text


def test_defaults() -> None:
    settings = load_settings(Settings)

    assert settings.policy(timedelta(days=1), None).grace == timedelta(seconds=60)
    assert settings.table_mapping() == TableMapping()
    assert settings.status_values() == StatusValues()
    options = settings.pass_options("once", dry_run=True)
    assert (options.mode, options.dry_run) == ("once", True)
    assert (options.batch_size, options.concurrency, settings.max_rps) == (500, 16, 100)


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://app@db/app",
        "postgres://app@db/app",
        "postgresql+asyncpg://app@db/app",
    ],
)
def test_every_usual_form_of_the_database_url(monkeypatch: pytest.MonkeyPatch, url: str) -> None:
    monkeypatch.setenv("DATABASE_URL", url)

    assert load_settings(Settings).database_url.get_secret_value() == "postgresql://app@db/app"


@pytest.mark.parametrize(
    "url",
    [
        "",
        "mysql://app:s3cret@db/app",
        "s3cret",
        "postgresql:///",
        "postgresql://a:s3cret@db:port/x",
    ],
)
def test_a_database_url_that_cannot_be_one(monkeypatch: pytest.MonkeyPatch, url: str) -> None:
    monkeypatch.setenv("DATABASE_URL", url)
    if url == "postgresql:///":  # libpq's "all defaults" is a URL like any other
        assert load_settings(Settings).database_url.get_secret_value() == url
        return

    assert refusal().startswith("DATABASE_URL: ")


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://u@ser:s3cret@host:5432/db",
        "postgresql://u:pa@s3cret@host/db",
        "postgresql://u:s3cret#1@host/db",
        "postgresql://u:12?s3cret@host/db",
        "postgresql://u:s3cret/1@host/db",
        "postgresql://u:s3cret@host/db?sslmode",
    ],
)
def test_a_database_url_that_was_not_percent_encoded_never_shows_a_part_of_the_password(
    monkeypatch: pytest.MonkeyPatch, url: str
) -> None:
    monkeypatch.setenv("DATABASE_URL", url)

    assert refusal().startswith("DATABASE_URL: has ")


@pytest.mark.parametrize(
    ("query", "taken"),
    [
        ("?sslmode=require", "?sslmode=require"),
        ("?ssl=require", "?sslmode=require"),
        ("?prepared_statement_cache_size=0", ""),
        ("?connect_timeout=5&host=/run/pg", "?host=%2Frun%2Fpg"),
    ],
)
def test_the_parameters_of_other_tools_urls(
    monkeypatch: pytest.MonkeyPatch, query: str, taken: str
) -> None:
    monkeypatch.setenv("DATABASE_URL", f"postgresql+asyncpg://u:p%40ss@a:1,b:2/db{query}")

    url = load_settings(Settings).database_url.get_secret_value()

    assert url == f"postgresql://u:p%40ss@a:1,b:2/db{taken}"


def test_a_dotenv_of_another_encoding() -> None:
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
def test_a_line_of_a_dotenv_that_cannot_be_read_is_no_default(line: str) -> None:
    Path(".env").write_text(f"# ours\n\nNAME=value\n\n{line}\nRECONCILER_GRACE=2h\n")

    assert refusal() == ".env line 5 cannot be read: write NAME=value"


@pytest.mark.parametrize("line", ['NAME="x', "NAME: x", "NAME", "export NAME", "!"])
def test_lines_of_a_dotenv_that_other_programs_read_are_theirs(
    line: str, caplog: pytest.LogCaptureFixture
) -> None:
    Path(".env").write_text(f"{line}\nHOURS=2\nRECONCILER_GRACE=${{HOURS}}h\n")

    assert load_settings(Settings).grace == timedelta(hours=2)
    assert caplog.messages == []


def test_a_missing_database_url(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("DATABASE_URL")

    assert refusal() == "DATABASE_URL is not set"


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
    ("name", "value", "told"),
    [
        ("RECONCILER_GRACE", "5 parsecs", "must be a number of seconds, or a duration"),
        ("RECONCILER_GRACE", "-1s", "must be a number of seconds, or a duration"),
        ("RECONCILER_GRACE", "9" * 30 + "d", "too long"),
        ("RECONCILER_BATCH_SIZE", "0", "greater than or equal to 1"),
        ("RECONCILER_CONCURRENCY", "many", "must be a whole number"),
        ("RECONCILER_MAX_RPS", "-1", "must be 0, for no limit, or at least 1"),
        ("RECONCILER_MAX_RPS", "0.5", "must be 0, for no limit, or at least 1"),
        ("RECONCILER_MAX_RPS", "nan", "must be 0, for no limit, or at least 1"),
        ("RECONCILER_COLUMNS__ERROR_MESSAGE", "status", "two columns have the same name"),
        ("RECONCILER_COLUMNS__COMPLETED_AT", "created_at", "two columns have the same name"),
        ("RECONCILER_STATUSES__COMPLETED", "running", "cannot have the value of one that is"),
        ("RECONCILER_STATUSES__TIMED_OUT", "running", "cannot have the value of one that is"),
        ("RECONCILER_COLUMNS", "foo", "set its parts, as RECONCILER_COLUMNS__<NAME>"),
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
    monkeypatch: pytest.MonkeyPatch, name: str, value: str, told: str
) -> None:
    monkeypatch.setenv(name, value)

    text = refusal()

    assert text.startswith(f"{name.partition('__')[0]}")
    assert told in text


def test_several_mistakes_are_told_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
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
        ("RECONCILER_ZZZ", ""),
    ],
)
def test_an_unknown_setting_is_refused(
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
def test_what_kubernetes_says_of_a_service_of_that_name_is_no_setting(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str
) -> None:
    monkeypatch.setenv(name, value)

    assert load_settings(Settings).batch_size == 500


def test_nor_does_kubernetes_write_files(tmp_path: Path) -> None:
    (tmp_path / "reconciler.toml").write_text("service_host = '10.0.0.7'")

    assert "RECONCILER_SERVICE_HOST (reconciler.toml): there is no such setting" in refusal()


def test_a_port_that_kubernetes_did_not_put_there_is_refused(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("RECONCILER_PORT", "8080")

    assert "RECONCILER_PORT (environment): there is no such setting" in refusal()


def test_names_and_values_can_be_mapped(monkeypatch: pytest.MonkeyPatch) -> None:
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


def test_another_file_can_be_named_in_place_of_that_in_this_folder(
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
    assert refusal().startswith(f"RECONCILER_BATCHSIZE ({named}): there is no such setting")


@pytest.mark.parametrize("name", ["missing.toml", "reconciler.toml"])
def test_a_file_that_is_named_has_to_be_there(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setenv("RECONCILER_CONFIG", name)

    assert refusal() == f"{name} cannot be read: No such file or directory"


def test_a_file_is_named_in_the_environment_only() -> None:
    Path(".env").write_text("RECONCILER_CONFIG=jobs.toml\n")

    assert refusal().startswith("RECONCILER_CONFIG (.env): there is no such setting")


@pytest.mark.parametrize(
    ("file", "content", "told"),
    [
        ("reconciler.toml", "batchsize = 1", "RECONCILER_BATCHSIZE (reconciler.toml): there is no"),
        ("reconciler.toml", "[columns]\nnope = 1", "RECONCILER_COLUMNS__NOPE (reconciler.toml)"),
        ("reconciler.toml", "batch_size = ", "reconciler.toml: Invalid value"),
        (".env", "RECONCILER_BATCHSIZE=1", "RECONCILER_BATCHSIZE (.env): there is no such"),
    ],
)
def test_mistakes_in_files_are_named_with_the_file(file: str, content: str, told: str) -> None:
    Path(file).write_text(content)

    assert refusal().startswith(told)


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
def test_a_proxy_that_cannot_be_one_never_shows_its_password(
    monkeypatch: pytest.MonkeyPatch, url: str
) -> None:
    monkeypatch.setenv("RECONCILER_TEMPORAL_PROXY", url)

    assert refusal().startswith("RECONCILER_TEMPORAL_PROXY: ")


@pytest.mark.parametrize("url", ["http://proxy:3128", "http://u:s3cret%40@10.0.0.1:3128/"])
def test_a_proxy_is_kept_a_secret(monkeypatch: pytest.MonkeyPatch, url: str) -> None:
    monkeypatch.setenv("RECONCILER_TEMPORAL_PROXY", url)

    settings = load_settings(Settings)

    assert settings.proxy_url == url.removesuffix("/")
    assert "s3cret" not in repr(settings)


def test_temporals_variables_come_from_the_environment_and_then_from_dotenv(
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
    monkeypatch.setenv("DATABASE_URL", "postgresql://db/app")
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
def test_a_backfill_with_another_mapping_is_another_one(
    monkeypatch: pytest.MonkeyPatch, change: dict[str, str]
) -> None:
    monkeypatch.setenv("DATABASE_URL", "postgresql://db/app")
    before = Request().asked(load_settings(Settings))
    for name, value in change.items():
        monkeypatch.setenv(name, value)

    asked = Request().asked(load_settings(Settings))

    assert asked != before
    assert json.loads(json.dumps(asked)) == asked, "compared with what was stored as JSON"
