"""Secrets from files: NAME_FILE in place of NAME, wherever settings stand."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from pydantic import SecretStr, field_validator

from reconciler.cli.main import run
from reconciler.core.errors import ConfigurationError
from reconciler.settings.load import load_settings
from reconciler.settings.model import Settings
from reconciler.settings.secret_files import SecretFile, secrets, setting_name
from reconciler.settings.table import TableSettings

URL = "postgresql://app:s3cret@db:5432/app"


class Future(Settings):
    """As settings may look one day."""

    proxy: SecretStr | None = None
    headers: SecretStr | None = None

    @field_validator("headers")
    @classmethod
    def _check(cls, value: SecretStr | None) -> SecretStr | None:
        if value and "=" not in value.get_secret_value():
            raise ValueError("must be name=value")
        return value


@pytest.fixture(autouse=True)
def clean(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No settings but the test's own."""
    for name in os.environ:
        if name.upper().startswith(("RECONCILER_", "TEMPORAL_", "DATABASE_URL")):
            monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def mounted(tmp_path: Path) -> Path:
    """A secret as Docker and Kubernetes mount it."""
    file = tmp_path / "url"
    file.write_text(f"{URL}\n")
    return file


def refusal(kind: type[TableSettings] = Settings) -> str:
    with pytest.raises(ConfigurationError) as refused:
        load_settings(kind)
    assert "s3cret" not in str(refused.value)
    return str(refused.value)


def loaded() -> str:
    return load_settings(Settings).database_url.get_secret_value()


def test_from_the_environment(mounted: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DATABASE_URL_FILE", str(mounted))

    assert loaded() == URL


@pytest.mark.parametrize(
    ("file", "line"),
    [(".env", "DATABASE_URL_FILE=url"), ("reconciler.toml", "database_url_file = 'url'")],
)
def test_from_a_file_of_settings(mounted: Path, file: str, line: str) -> None:
    Path(file).write_text(line)

    assert loaded() == URL


def test_the_environment_goes_before_dotenv(mounted: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    Path(".env").write_text("DATABASE_URL_FILE=nowhere")
    monkeypatch.setenv("DATABASE_URL_FILE", "url")

    assert loaded() == URL


@pytest.mark.parametrize("content", ["s3cret ", "s3cret \r\n", "\ufeffs3cret \n\n"])
def test_what_editors_add_is_no_part_of_a_secret(mounted: Path, content: str) -> None:
    mounted.write_bytes(content.encode())

    assert SecretFile("X_FILE", str(mounted)).read() == "s3cret "


@pytest.mark.parametrize("elsewhere", ["environment", ".env", "reconciler.toml"])
def test_a_secret_that_stands_in_two_places_is_refused(
    mounted: Path, monkeypatch: pytest.MonkeyPatch, elsewhere: str
) -> None:
    monkeypatch.setenv("DATABASE_URL_FILE", str(mounted))
    if elsewhere == "environment":
        monkeypatch.setenv("DATABASE_URL", URL)
    elif elsewhere == ".env":
        Path(".env").write_text(f"DATABASE_URL={URL}")
    else:
        Path("reconciler.toml").write_text(f"database_url = '{URL}'")

    assert refusal() == (
        f"DATABASE_URL ({elsewhere}) and DATABASE_URL_FILE (environment) exclude each other: "
        "remove one of them"
    )


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (None, "cannot read url: No such file or directory"),
        (b"", "url is empty"),
        (b"\n", "url is empty"),
        (b"postgresql://u:s3cret\xff@h/d", "url is not UTF-8"),
        (b"mysql://u:s3cret@h/d", "must look like postgresql://"),
    ],
    ids=["missing", "empty", "newline", "not UTF-8", "something else"],
)
def test_a_file_without_the_secret_is_named(
    monkeypatch: pytest.MonkeyPatch, content: bytes | None, told: str
) -> None:
    monkeypatch.setenv("DATABASE_URL_FILE", "url")
    if content is not None:
        Path("url").write_bytes(content)

    assert refusal().startswith(f"DATABASE_URL_FILE: {told}")


@pytest.mark.parametrize(
    ("path", "told"),
    [
        ("", "DATABASE_URL_FILE is empty: it must be the path of a file"),
        ("/", "DATABASE_URL_FILE: cannot read /: is a directory, not a file"),
    ],
)
def test_a_path_that_is_none_of_a_file(
    monkeypatch: pytest.MonkeyPatch, path: str, told: str
) -> None:
    monkeypatch.setenv("DATABASE_URL_FILE", path)

    assert refusal() == told


def test_a_command_ends_with_2_and_one_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("DATABASE_URL_FILE", "/run/secrets/url")

    assert run(["once"]) == 2
    assert capsys.readouterr().err == (
        "reconciler: DATABASE_URL_FILE: cannot read /run/secrets/url: No such file or directory\n"
    )


def test_who_is_given_an_engine_needs_no_secret(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DATABASE_URL_FILE", "nowhere")

    load_settings(TableSettings)


class TestEverySecret:
    """It is a matter of the type: nothing else has to be said."""

    @pytest.fixture(autouse=True)
    def url(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("DATABASE_URL", URL)

    def test_has_a_file(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("RECONCILER_HEADERS_FILE", "headers")
        Path("headers").write_text("Authorization=s3cret")
        settings = Future()

        assert settings.headers is not None
        assert settings.headers.get_secret_value() == "Authorization=s3cret"
        assert settings.proxy is None
        assert "s3cret" not in repr(settings)

    @pytest.mark.parametrize("suffix", ["", "_FILE"])
    def test_is_never_shown(self, monkeypatch: pytest.MonkeyPatch, suffix: str) -> None:
        monkeypatch.setattr("reconciler.settings.load.Settings", Future)
        monkeypatch.setenv(f"RECONCILER_HEADERS{suffix}", "s3cret")
        Path("s3cret").write_text("s3cret")

        assert refusal(Future) == f"RECONCILER_HEADERS{suffix}: must be name=value"

    def test_is_known_by_both_names(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("reconciler.settings.load.Settings", Future)
        Path("reconciler.toml").write_text("headers_file = 'headers'\nproxi_file = 'proxy'")

        assert refusal(Future) == (
            "RECONCILER_PROXI_FILE (reconciler.toml): there is no such setting, "
            "did you mean RECONCILER_PROXY_FILE?"
        )

    def test_other_settings_have_none(self, monkeypatch: pytest.MonkeyPatch) -> None:
        names = {setting_name(Settings, name) for name in secrets(Settings)}

        monkeypatch.setenv("RECONCILER_TABLE_FILE", "table")

        assert "DATABASE_URL" in names
        assert "RECONCILER_TABLE" not in names
        assert "there is no such setting" in refusal()
