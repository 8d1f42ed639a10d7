"""Invalid settings for decoding and redacting are rejected before anything is connected."""

from __future__ import annotations

from pathlib import Path

import pytest

from reconciler.cli.main import run


@pytest.mark.parametrize(
    ("name", "value", "text"),
    [
        ("DATA_CONVERTER", "team_nowhere:x", "there is no module team_nowhere"),
        ("DATA_CONVERTER", "json:dumps", "dumps needs arguments"),
        ("CODEC_ENDPOINT", "codec.example", "must look like https://"),
        ("REDACT", "(", "is not a regular expression"),
    ],
)
@pytest.mark.parametrize("command", [["once"], ["run"], ["explain", "wf"], ["backfill"]])
def test_one_line_and_exit_code_2(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
    command: list[str],
    name: str,
    value: str,
    text: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("DATABASE_URL", "postgresql://app@127.0.0.1:1/app")
    monkeypatch.setenv("TEMPORAL_ADDRESS", "127.0.0.1:1")
    monkeypatch.setenv("RECONCILER_HTTP_PORT", "0")
    monkeypatch.setenv(f"RECONCILER_{name}", value)

    assert run(command) == 2

    printed = capsys.readouterr()
    (line,) = [line for line in printed.err.splitlines() if " http_listening " not in line]
    assert line.startswith(f"reconciler: RECONCILER_{name}: ")
    assert text in line
    assert printed.out == ""
