"""docs/settings.md follows the descriptions of the settings."""

from __future__ import annotations

from pathlib import Path

import pytest

from reconciler.settings.model import Settings, environment_name, fields
from tests.support.commands import settings_page


def test_every_setting_is_described() -> None:
    rows = settings_page.page().splitlines()

    for path, field in fields(Settings):
        start = f"| `{environment_name(path)}` | "
        assert [row for row in rows if row.startswith(start)], path
        assert field.description, path


def test_a_stale_page_fails_the_check(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(settings_page, "PAGE", tmp_path / "settings.md")
    with pytest.raises(SystemExit, match="run make docs"):
        settings_page.main(["--check"])

    settings_page.main([])
    settings_page.main(["--check"])

    monkeypatch.setattr(Settings.model_fields["table"], "description", "Another one.")
    with pytest.raises(SystemExit, match="run make docs"):
        settings_page.main(["--check"])
