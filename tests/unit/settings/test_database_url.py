"""DATABASE_URL as applications of any language write it: honoured, or rejected by name."""

from __future__ import annotations

from pathlib import Path

import pytest
from asyncpg import connect_utils

from reconciler.cli.main import run
from reconciler.settings.database_url import BY_DRIVER, parse_database_url
from reconciler.settings.load import load_guest_settings, load_settings
from reconciler.settings.model import DatabaseSettings, Settings
from tests.unit.settings.conftest import SECRET, refusal


def loaded() -> str:
    return load_settings(Settings).database_url.get_secret_value()


@pytest.mark.parametrize(
    "scheme",
    [
        *("postgresql", "postgres", "postgis", "pgsql", "POSTGRESQL", "postgresql+psycopg"),
        *("postgresql+psycopg2", "postgresql+psycopg_async", "postgresql+pg8000"),
        *("postgresql+asyncpg", "postgres+psycopg2cffi", "postgresql+psycopg2_binary"),
    ],
)
def test_any_driver_of_postgresql_is_accepted(monkeypatch: pytest.MonkeyPatch, scheme: str) -> None:
    monkeypatch.setenv("DATABASE_URL", f"{scheme}://app@db/app")

    assert loaded() == "postgresql://app@db/app"
    own = load_guest_settings(connects=True).settings
    assert isinstance(own, DatabaseSettings)
    assert own.database_url.get_secret_value() == "postgresql://app@db/app"


@pytest.mark.parametrize(
    ("scheme", "kind"),
    [("mysql", "mysql"), ("mysql+pymysql", "mysql"), ("sqlite", "sqlite"), ("redis", "redis")],
)
def test_another_kind_of_database_is_rejected(
    monkeypatch: pytest.MonkeyPatch, scheme: str, kind: str
) -> None:
    monkeypatch.setenv("DATABASE_URL", f"{scheme}://app:{SECRET}@db/app")

    assert refusal() == (
        f"DATABASE_URL: is a URL of {kind}, and must be one of PostgreSQL: "
        "postgresql://user:password@host:5432/database"
    )


@pytest.mark.parametrize("url", ["", "s3cret", "postgresql://", "s3cret+x://db/app"])
def test_what_is_no_url_is_rejected(monkeypatch: pytest.MonkeyPatch, url: str) -> None:
    monkeypatch.setenv("DATABASE_URL", url)

    assert refusal().startswith("DATABASE_URL: must look like postgresql://")


def test_a_url_of_defaults_only_is_accepted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DATABASE_URL", "postgresql:///")

    assert loaded() == "postgresql:///"


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://a:s3cret@db:port/x",
        "postgresql://u@ser:s3cret@host:5432/db",
        "postgresql://u:pa@s3cret@host/db",
        "postgresql://u:s3cret#1@host/db",
        "postgresql://u:12?s3cret@host/db",
        "postgresql://u:12?s3cret=1@host/db",
        "postgresql://u:a@b?s3cret=1@host/db",
        "postgresql://u:s3cret/1@host/db",
        "postgresql://u:s3cret@host/db?sslmode",
        "postgresql://u:[s3cret]@host/db",
        "postgresql://u:[s3cret@host/db",
        "postgresql://u:s3cret\u2100@host/db",
    ],
)
def test_no_part_of_a_password_that_is_not_percent_encoded_is_shown(
    monkeypatch: pytest.MonkeyPatch, url: str
) -> None:
    monkeypatch.setenv("DATABASE_URL", url)

    assert refusal().startswith("DATABASE_URL: has ")


@pytest.mark.parametrize(
    ("query", "taken"),
    [
        ("?sslmode=require", "?sslmode=require"),
        ("?ssl=require", "?sslmode=require"),
        ("?connect_timeout=30&keepalives_idle=30", "?connect_timeout=30&keepalives_idle=30"),
        ("?application_name=app", "?application_name=app"),
        ("?TimeZone=UTC&app.tenant=a", "?TimeZone=UTC&app.tenant=a"),
        ("?options=-c%20jit%3Doff", "?options=-c+jit%3Doff"),
        ("?prepared_statement_cache_size=0&statement_cache_size=0", ""),
        ("?channel_binding=prefer&gssencmode=disable&client_encoding=UTF8", ""),
    ],
)
def test_parameters_that_are_honoured(
    monkeypatch: pytest.MonkeyPatch, query: str, taken: str
) -> None:
    monkeypatch.setenv("DATABASE_URL", f"postgresql+asyncpg://u:p%40ss@a:1,b:2/db{query}")

    assert loaded() == f"postgresql://u:p%40ss@a:1,b:2/db{taken}"


@pytest.mark.parametrize(
    ("url", "taken"),
    [
        ("u:p@/db?host=/run/pg", "u:p@/db?host=%2Frun%2Fpg"),
        ("u:p@localhost/db?host=/cloudsql/a:b:c", "u:p@/db?host=%2Fcloudsql%2Fa%3Ab%3Ac"),
        ("localhost:5433/db?host=db", "/db?port=5433&host=db"),
        ("u@a,[::1]/db?port=6432", "u@/db?host=a%2C%5B%3A%3A1%5D&port=6432"),
        ("u@a:1,b/db?port=&host=", "u@a:1,b/db?port=&host="),
        ("u@%2Frun%2Fpg/db?port=6432", "u@/db?host=%2Frun%2Fpg&port=6432"),
    ],
)
def test_a_host_or_port_that_is_a_parameter_wins_as_it_does_in_libpq(
    monkeypatch: pytest.MonkeyPatch, url: str, taken: str
) -> None:
    monkeypatch.setenv("DATABASE_URL", f"postgresql://{url}")

    assert loaded() == f"postgresql://{taken}"


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        (
            "sslmode=require&channel_binding=require",
            "channel_binding: remove it from DATABASE_URL (disable and prefer are; use sslmode=ver",
        ),
        ("schema=public", "schema: remove it from DATABASE_URL (a schema goes into RECONCILER_TAB"),
        (
            "pgbouncer=true&connection_limit=5&pool_timeout=10",
            "pgbouncer, connection_limit, pool_timeout: remove them from DATABASE_URL",
        ),
        ("gssencmode=require", "gssencmode: remove it from DATABASE_URL (disable and prefer are)"),
        ("client_encoding=latin1", "client_encoding: remove it from DATABASE_URL (utf8 is)"),
        ("require_auth=scram-sha-256", "require_auth: remove it from DATABASE_URL (use sslmode="),
        (
            "hostaddr=10.0.0.1",
            "hostaddr: remove it from DATABASE_URL (use the address as the host)",
        ),
        ("sslmod=require", "sslmod: remove it from DATABASE_URL"),
        ("s3cret%0a=1", "(not a name): remove it from DATABASE_URL"),
    ],
)
def test_parameters_that_are_rejected_by_name(
    monkeypatch: pytest.MonkeyPatch, query: str, expected: str
) -> None:
    monkeypatch.setenv("DATABASE_URL", f"postgresql://u@h/db?{query}")

    problem = "parameters" if "them" in expected else "parameter"
    assert refusal().startswith(f"DATABASE_URL: {problem} not supported: {expected}")


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("ssl=true", "has an unknown sslmode: it is one of disable, allow, prefer, require, ver"),
        ("target_session_attrs=s3cret", "has an unknown target_session_attrs: it is one of any, "),
        ("port=s3cret", "has a port that is not a number from 0 to 65535"),
        ("user=s3cret", "gives user twice: remove the parameter user"),
        ("database=s3cret", "gives database twice: remove the parameter database"),
        ("sslrootcert=system", "has sslrootcert=system: name the file, such as /etc/ssl/certs/ca-"),
        ("connect_timeout=0", "has a connect_timeout that is not a number from 1 to 600"),
        ("connect_timeout=s3cret", "has a connect_timeout that is not a number from 1 to 600"),
        ("keepalives=2", "has a keepalives that is not a number from 0 to 1"),
    ],
)
def test_values_that_are_rejected(
    monkeypatch: pytest.MonkeyPatch, query: str, expected: str
) -> None:
    monkeypatch.setenv("DATABASE_URL", f"postgresql://u@h/db?{query}")

    assert refusal().startswith(f"DATABASE_URL: {expected}")


@pytest.mark.parametrize("name", sorted(BY_DRIVER))
def test_the_driver_sends_none_of_its_own_parameters_to_the_server(name: str) -> None:
    values = {"port": "5432", "sslnegotiation": "postgres", "gsslib": "gssapi"}
    values |= {"sslmode": "disable", "target_session_attrs": "any"}
    query = f"{name}={values.get(name, '')}"
    dsn = parse_database_url(f"postgresql://u@h/db?{query}")

    names = "host port user password passfile database ssl service servicefile direct_tls"
    names += " server_settings target_session_attrs krbsrvname gsslib"
    given = dict.fromkeys(names.split(), None) | {"target_session_attrs": "any"}
    _, parsed = connect_utils._parse_connect_dsn_and_args(dsn=dsn, **given)

    assert not parsed.server_settings


@pytest.mark.parametrize("quote", ["'", '"'])
class TestInQuotes:
    """`docker run --env-file` and `kubectl create secret --from-env-file` keep them."""

    @pytest.fixture
    def text(self, quote: str) -> str:
        return f"{quote}postgresql://app:{SECRET}@db/app{quote}"

    def expected(self, name: str) -> str:
        return (
            f"{name} is in quotes, which are part of the value in an --env-file or a secret: "
            "remove them"
        )

    def test_a_url(self, monkeypatch: pytest.MonkeyPatch, text: str) -> None:
        monkeypatch.setenv("DATABASE_URL", text)

        assert refusal() == self.expected("DATABASE_URL")

    def test_a_url_in_a_file(
        self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, text: str
    ) -> None:
        (tmp_path / "url").write_text(f"{text}\n")
        monkeypatch.delenv("DATABASE_URL")
        monkeypatch.setenv("DATABASE_URL_FILE", "url")

        assert refusal() == self.expected("DATABASE_URL_FILE")

    def test_any_setting(self, monkeypatch: pytest.MonkeyPatch, quote: str) -> None:
        monkeypatch.setenv("RECONCILER_TABLE", f"{quote}jobs{quote}")

        assert refusal() == self.expected("RECONCILER_TABLE")

    def test_a_setting_of_temporals(
        self, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], quote: str
    ) -> None:
        monkeypatch.setenv("TEMPORAL_API_KEY", f"{quote}{SECRET}{quote}")

        assert run(["once"]) == 2
        assert capfd.readouterr().err == f"reconciler: {self.expected('TEMPORAL_API_KEY')}\n"


@pytest.fixture(params=["environment", ".env", "reconciler.toml"])
def expression(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """An expression that begins and ends with a quote."""
    text = '"[^"]+"'
    if request.param == "environment":
        monkeypatch.setenv("RECONCILER_REDACT", text)
    elif request.param == ".env":
        Path(".env").write_text(f"RECONCILER_REDACT='{text}'\nRECONCILER_TABLE='jobs'\n")
    else:
        Path("reconciler.toml").write_text(f"redact = ['{text}']\n")
    return text


def test_quotes_that_are_part_of_a_value_are_left(expression: str) -> None:
    assert load_settings(Settings).redact == (expression,)
