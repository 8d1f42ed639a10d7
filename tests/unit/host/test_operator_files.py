"""Each file that an operator can name, if it is a pipe, a device, too large or not text.

`test_files` has all kinds; here each place that reads a file is tested with one of them.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from reconciler.core.errors import ConfigurationError, DatabaseUnfit
from reconciler.postgres.connection.engine import open_engine
from reconciler.postgres.connection.tls import check_files
from reconciler.settings import sources
from reconciler.settings.load import load_settings
from reconciler.settings.model import Settings
from reconciler.settings.temporal import temporal_environment
from reconciler.temporal.config.api_key import KeyFile
from reconciler.temporal.config.load import load_config

PIPE = "is a pipe, not a file"


@pytest.fixture(autouse=True)
def alone(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Only the settings of the test."""
    for name in os.environ:
        if name.upper().startswith(("RECONCILER_", "TEMPORAL_", "DATABASE_URL", "PG", "XDG_")):
            monkeypatch.delenv(name)
    monkeypatch.setenv("DATABASE_URL", "postgresql://db/app")
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def pipe(tmp_path: Path) -> Path:
    os.mkfifo(tmp_path / "pipe")
    return tmp_path / "pipe"


def refusal(load: Callable[[], object] = lambda: load_settings(Settings)) -> str:
    with pytest.raises(ConfigurationError) as refused:
        load()
    assert "\n" not in str(refused.value)
    return str(refused.value)


@pytest.mark.parametrize("name", [".env", "reconciler.toml"])
def test_settings_in_a_pipe(name: str) -> None:
    os.mkfifo(name)

    assert refusal() == f"{name} cannot be read: {PIPE}"
    if name == ".env":
        assert refusal(temporal_environment) == f"{name} cannot be read: {PIPE}"


@pytest.mark.parametrize("name", [".env", "reconciler.toml"])
@pytest.mark.parametrize(
    ("content", "why"),
    [(b"\xff\xfe", "is not UTF-8"), (b"#" * 2**21, "is larger than 1,024 KiB")],
    ids=["no text", "too large"],
)
def test_files_of_settings_that_cannot_be_read(name: str, content: bytes, why: str) -> None:
    Path(name).write_bytes(content)

    assert refusal() == f"{name} cannot be read: {why}"


@pytest.mark.parametrize("name", [".env", "reconciler.toml"])
def test_a_broken_link_is_not_a_missing_file(name: str) -> None:
    Path(name).symlink_to("nowhere")

    assert refusal() == f"{name} cannot be read: No such file or directory"


def test_settings_that_begin_with_a_byte_order_mark() -> None:
    Path(".env").write_bytes(b"\xef\xbb\xbfRECONCILER_BATCH_SIZE=7\n")
    Path("reconciler.toml").write_bytes(b"\xef\xbb\xbfconcurrency = 8\n")

    settings = load_settings(Settings)

    assert (settings.batch_size, settings.concurrency) == (7, 8)


@pytest.mark.parametrize(
    ("content", "why"),
    [
        ("a=" + "[" * 20_000, "is nested too deeply"),
        ("a = " + "9" * 5_000, "not valid TOML: Exceeds"),
    ],
)
def test_settings_that_break_their_parser(content: str, why: str) -> None:
    Path("reconciler.toml").write_text(content)

    assert refusal().startswith(f"reconciler.toml: {why}")


def test_a_database_url_in_a_pipe(pipe: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("DATABASE_URL")
    monkeypatch.setenv("DATABASE_URL_FILE", str(pipe))

    assert refusal() == f"DATABASE_URL_FILE: cannot read {pipe}: {PIPE}"


@pytest.mark.parametrize(
    ("make", "why"),
    [
        (os.mkfifo, PIPE),
        (Path.mkdir, "is a directory, not a file"),
        (lambda path: path.symlink_to("/dev/zero"), "is a device, not a file"),
        (lambda path: path.write_bytes(b"#" * 2**21), "is larger than 1,024 KiB"),
    ],
    ids=["pipe", "directory", "device", "too large"],
)
def test_a_mounted_secret_that_is_not_a_file(
    make: Callable[[Path], object], why: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sources, "SECRETS", (str(tmp_path),))
    path = tmp_path / "reconciler_codec_headers"
    make(path)

    assert refusal() == f"{path.name} ({tmp_path}): cannot read {path}: {why}"


@pytest.mark.parametrize(
    "name",
    [
        *("TEMPORAL_API_KEY_FILE", "TEMPORAL_CONFIG_FILE", "TEMPORAL_TLS_SERVER_CA_CERT_PATH"),
        *("TEMPORAL_TLS_CLIENT_CERT_PATH", "TEMPORAL_TLS_CLIENT_KEY_PATH"),
    ],
)
@pytest.mark.parametrize("device", ["", "/dev/zero"])
def test_temporals_files(pipe: Path, name: str, device: str) -> None:
    given = {"TEMPORAL_ADDRESS": "temporal:7233", name: device or str(pipe)}

    text = refusal(lambda: load_config(given))

    assert text.startswith(f"{name}: ")
    assert text.endswith("is a device, not a file" if device else PIPE)


@pytest.mark.parametrize("folder", [".config", "xdg"])
def test_temporals_file_where_it_is_looked_for(
    tmp_path: Path, folder: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    if folder == "xdg":
        monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / folder))
    path = tmp_path / folder / "temporalio" / "temporal.toml"
    path.parent.mkdir(parents=True)
    path.write_text('[profile.default]\naddress = "here:7233"\n')
    assert load_config({})["target_host"] == "here:7233"

    path.unlink()
    os.mkfifo(path)

    assert refusal(lambda: load_config({})) == f"cannot read {path}: {PIPE}"


def test_a_key_that_becomes_a_pipe_is_kept(tmp_path: Path) -> None:
    """A running loop would hang while it waits for the pipe."""
    path = tmp_path / "key"
    path.write_text("key")
    key = KeyFile(str(path))
    path.unlink()
    os.mkfifo(path)

    with capture_logs() as logged:
        assert [key.current(force=True) for _ in range(2)] == ["key", "key"]

    assert [line["error"] for line in logged] == [
        f"TEMPORAL_API_KEY_FILE: cannot read {path}: {PIPE}"
    ]


@pytest.mark.parametrize("parameter", ["sslrootcert", "sslcrl", "sslcert", "sslkey", "servicefile"])
@pytest.mark.parametrize("where", ["URL", "variable", "home"])
async def test_the_files_of_a_connection(
    pipe: Path, parameter: str, where: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    url, called = "postgresql://127.0.0.1:1/app?sslmode=require", f"{parameter} in DATABASE_URL"
    if where == "URL":
        url += f"&{parameter}={pipe}"
    elif where == "variable":
        called = f"PG{parameter.upper()}"
        monkeypatch.setenv(called, str(pipe))
    else:
        pipe = _at_home(parameter)
    engine = open_engine(url)

    with pytest.raises(DatabaseUnfit) as refused:
        async with engine.connect():
            pass

    why = f"cannot connect to the database: cannot read {pipe} ({PIPE}): check {called}"
    assert str(refused.value) == why


def _at_home(parameter: str) -> Path:
    names = {
        "sslrootcert": ".postgresql/root.crt",
        "sslcrl": ".postgresql/root.crl",
        "sslcert": ".postgresql/postgresql.crt",
        "sslkey": ".postgresql/postgresql.key",
        "servicefile": ".pg_service.conf",
    }
    path = Path.home() / names[parameter]
    path.parent.mkdir(exist_ok=True)
    os.mkfifo(path)
    return path


def test_files_of_a_connection_that_are_not_there_are_for_the_driver_to_miss() -> None:
    check_files("postgresql://db/app?sslrootcert=/nowhere&sslkey=relative")


def test_empty_files_in_the_home_folder_do_no_harm() -> None:
    """Few connections need them, and for those the driver reports it."""
    file = Path.home() / ".pg_service.conf"
    file.touch()
    check_files("postgresql://db/app")

    with pytest.raises(DatabaseUnfit, match="is empty"):
        check_files(f"postgresql://db/app?servicefile={file}")


@pytest.mark.parametrize("name", ["RECONCILER_TABLE", "DATABASE_URL", "TEMPORAL_NAMESPACE"])
def test_a_variable_that_is_not_text(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(name, "a\udcff")

    assert refusal() == f"{name} is not UTF-8"


def test_variables_of_others_may_be_anything(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OTHERS", "a\udcff")
    monkeypatch.setenv("TEMPORAL_ADDRESS", "temporal:7233")

    load_settings(Settings)
    assert load_config(temporal_environment())["target_host"] == "temporal:7233"


def test_a_variable_in_an_ascii_locale(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RECONCILER_TABLE", "gr\udcc3\udcb6\udcc3\udc9fer")

    assert load_settings(Settings).table == "größer"
