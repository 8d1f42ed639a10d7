"""Secrets from files: DATABASE_URL_FILE, and what is mounted at /run/secrets."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from reconciler.cli.main import run
from reconciler.host.files import read_secret
from reconciler.settings import sources
from reconciler.settings.load import load_guest_settings, load_settings
from reconciler.settings.model import Settings
from reconciler.settings.table import TableSettings
from tests.unit.settings.conftest import URL, refusal


@pytest.fixture(autouse=True)
def no_url(clean: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("DATABASE_URL")


@pytest.fixture
def mounted(tmp_path: Path) -> Path:
    """A secret as Docker and Kubernetes mount it."""
    file = tmp_path / "url"
    file.write_text(f"{URL}\n")
    return file


def loaded() -> str:
    return load_settings(Settings).database_url.get_secret_value()


def test_from_the_environment(mounted: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DATABASE_URL_FILE", str(mounted))

    assert loaded() == URL


@pytest.mark.parametrize(
    ("file", "line"),
    [(".env", "DATABASE_URL_FILE=url"), ("reconciler.toml", "database_url_file = 'url'")],
)
def test_from_dotenv_and_toml(mounted: Path, file: str, line: str) -> None:
    Path(file).write_text(line)

    assert loaded() == URL


def test_the_environment_wins_over_dotenv(mounted: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    Path(".env").write_text("DATABASE_URL_FILE=nowhere")
    monkeypatch.setenv("DATABASE_URL_FILE", "url")

    assert loaded() == URL


@pytest.mark.parametrize("content", ["s3cret ", "s3cret \r\n", "\ufeffs3cret \n\n"])
def test_a_byte_order_mark_and_the_last_newline_are_not_part_of_a_secret(
    mounted: Path, content: str
) -> None:
    mounted.write_bytes(content.encode())

    assert read_secret("X_FILE", mounted) == "s3cret "


@pytest.mark.parametrize("elsewhere", ["environment", ".env", "reconciler.toml"])
def test_a_url_and_a_file_are_rejected(
    mounted: Path, monkeypatch: pytest.MonkeyPatch, elsewhere: str
) -> None:
    monkeypatch.setenv("DATABASE_URL_FILE", str(mounted))
    if elsewhere == "environment":
        monkeypatch.setenv("DATABASE_URL", URL)
    elif elsewhere == ".env":
        Path(".env").write_text(f"DATABASE_URL={URL}")
    else:
        Path("reconciler.toml").write_text(f"database_url = '{URL}'")

    name = "database_url" if elsewhere == "reconciler.toml" else "DATABASE_URL"
    assert refusal() == (
        f"{name} ({elsewhere}) and DATABASE_URL_FILE (environment) exclude each other: "
        "remove one of them"
    )


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (None, "cannot read url: No such file or directory"),
        (b"", "url is empty"),
        (b"\n", "url is empty"),
        (b"postgresql://u:s3cret\xff@h/d", "url is not UTF-8"),
        (b"u:s3cret@h/d", "must look like postgresql://"),
    ],
    ids=["missing", "empty", "newline", "not UTF-8", "something else"],
)
def test_an_invalid_file_is_named(
    monkeypatch: pytest.MonkeyPatch, content: bytes | None, expected: str
) -> None:
    monkeypatch.setenv("DATABASE_URL_FILE", "url")
    if content is not None:
        Path("url").write_bytes(content)

    assert refusal().startswith(f"DATABASE_URL_FILE: {expected}")


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("", "DATABASE_URL_FILE is empty: set it to the path of a file"),
        ("/", "DATABASE_URL_FILE: cannot read /: is a directory, not a file"),
    ],
)
def test_a_path_that_is_not_a_file(
    monkeypatch: pytest.MonkeyPatch, path: str, expected: str
) -> None:
    monkeypatch.setenv("DATABASE_URL_FILE", path)

    assert refusal() == expected


def test_a_command_ends_with_2_and_one_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("DATABASE_URL_FILE", "/run/secrets/url")

    assert run(["once"]) == 2
    assert capsys.readouterr().err == (
        "reconciler: DATABASE_URL_FILE: cannot read /run/secrets/url: No such file or directory\n"
    )


def test_settings_for_an_engine_of_the_application_read_no_secret(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("DATABASE_URL_FILE", "nowhere")

    load_settings(TableSettings)


class TestMounted:
    """Docker and Kubernetes mount each in a file with the name of its setting."""

    @pytest.fixture(autouse=True)
    def folder(self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
        folder = tmp_path / "secrets"
        folder.mkdir()
        monkeypatch.setattr(sources, "SECRETS", (str(folder), str(folder / "reconciler")))
        monkeypatch.setenv("DATABASE_URL", URL)
        return folder

    @pytest.mark.parametrize("name", ["reconciler_temporal_proxy", "RECONCILER_TEMPORAL_PROXY"])
    @pytest.mark.parametrize("inner", ["", "reconciler"])
    def test_a_secret_needs_no_variable(self, folder: Path, name: str, inner: str) -> None:
        (folder / inner).mkdir(exist_ok=True)
        (folder / inner / name).write_text("http://u:s3cret@proxy:3128\n")
        (folder / "others").write_text("theirs")

        settings = load_settings(Settings)

        assert settings.proxy_url == "http://u:s3cret@proxy:3128"
        assert settings.place(("temporal_proxy",)) == str(folder / inner)
        assert "s3cret" not in repr(settings)

    def test_every_other_source_wins(self, folder: Path) -> None:
        (folder / "reconciler_temporal_proxy").write_text("http://proxy:1")
        Path("reconciler.toml").write_text("temporal_proxy = 'http://proxy:2'")

        assert load_settings(Settings).proxy_url == "http://proxy:2"

    def test_an_invalid_one_is_rejected_without_its_value(self, folder: Path) -> None:
        (folder / "reconciler_codec_headers").write_text("s3cret")

        assert refusal().startswith(
            f"reconciler_codec_headers ({folder}): line 1 is not of the form Name: value"
        )

    def test_a_typo_is_rejected(self, folder: Path) -> None:
        (folder / "reconciler_codec_header").write_text("s3cret")

        assert refusal() == (
            f"reconciler_codec_header ({folder}): there is no such setting, "
            "did you mean RECONCILER_CODEC_HEADERS?"
        )

    def test_other_programs_secrets_are_not_opened(self, folder: Path) -> None:
        os.mkfifo(folder / "reconciler_ledger_key")

        load_guest_settings(connects=False)
