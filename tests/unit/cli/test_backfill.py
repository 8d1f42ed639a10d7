"""Invalid options of backfill are rejected before it connects to anything: one line, exit 2."""

from __future__ import annotations

from pathlib import Path

import pytest

from reconciler.cli.main import run


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """Addresses that nobody answers at: a command that connects ends with exit code 4."""
    monkeypatch.setenv("DATABASE_URL", "postgresql://nobody@127.0.0.1:1/nowhere")
    monkeypatch.setenv("TEMPORAL_ADDRESS", "127.0.0.1:1")


APPLY = ["--apply", "--yes"]


@pytest.mark.parametrize(
    ("options", "text"),
    [
        (["--since", "10d", "--until", "20d"], "--since 10d is not before --until 20d"),
        (["--since", "2026-02-01", "--until", "2026-02-01"], "is not before --until 2026-02-01"),
        (["--since", "90x"], "--since must be a timestamp such as 2026-01-31T12:00:00Z"),
        (["--since", "90"], "or an age such as 90d, 12w, 36h, 30m, 10s (it is '90')"),
        (["--until", ""], "--until must be a timestamp"),
        (["--until", "2026-02-30"], "--until must be a timestamp"),
        (["--until", "999999999999d"], "--until must be a timestamp"),
        (["--limit", "0"], "--limit"),
        (["--max-changes", "-1"], "--max-changes"),
        (["--missing", "maybe"], "--missing: must be 'leave' or 'fail'"),
        (["--max-missing-ratio", "1.5"], "--max-missing-ratio: "),
        (["--max-missing-ratio", "nan"], "--max-missing-ratio: "),
        (["--max-rps", "0.5"], "--max-rps: must be 0, for no limit, or at least 1"),
        (["--concurrency", "0"], "--concurrency: "),
        (["--apply"], "--apply needs --yes where there is no terminal to ask on"),
        ([*APPLY, "--dry-run"], "--apply and --dry-run exclude each other"),
        (["--restart"], "--restart needs --apply"),
        (["--force", "--max-missing-ratio", "1"], "--force and --max-missing-ratio exclude"),
        (["--force"], "--force needs --missing fail"),
        (["--yes"], "--yes needs --apply"),
        (["--plan", "p.jsonl"], "--plan needs --apply"),
        ([*APPLY, "--plan", "p.jsonl", "--since", "9d"], "--plan and --since exclude each other"),
        ([*APPLY, "--plan", "p.jsonl", "--max-rps", "0"], "--plan and --max-rps exclude"),
        ([*APPLY, "--output", "p.jsonl"], "--apply and --output exclude each other"),
        (["--output", "p.jsonl", "--max-changes", "9"], "--max-changes and --output exclude"),
        (
            ["--output", "p.jsonl", "--limit", "9", "--missing", "fail"],
            "--limit and --output exclude each other with --missing fail",
        ),
        (["--workflow-type", "\udcff"], "--workflow-type is not UTF-8"),
    ],
    ids=lambda value: ascii(" ".join(value)) if isinstance(value, list) else "",
)
def test_wrong_usage_is_one_line_and_exit_code_2(
    options: list[str], text: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["backfill", *options]) == 2
    printed = capsys.readouterr()
    assert printed.out == ""
    assert printed.err.count("\n") == 1
    assert printed.err.startswith("reconciler: ")
    assert text in printed.err


def test_an_unreachable_database_is_exit_code_4(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["backfill"]) == 4
    assert "the database is unreachable" in capsys.readouterr().err


def test_without_stdin_apply_needs_yes(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.stdin", None)

    assert run(["backfill", "--apply"]) == 2
    assert "needs --yes" in capsys.readouterr().err


def test_cancel_is_about_the_target_that_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("reconciler.toml").write_text("[targets.a]\ntable = 'a'\n[targets.b]\ntable = 'b'\n")

    assert run(["backfill", "--cancel"]) == 2
    assert "name one target with --target" in capsys.readouterr().err
    assert run(["backfill", "--cancel", "--target", "b"]) == 4
    assert "the database is unreachable" in capsys.readouterr().err
