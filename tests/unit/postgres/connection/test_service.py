"""A service that is not defined, for which the driver would connect to this host."""

from __future__ import annotations

from pathlib import Path

import pytest

from reconciler.core.errors import DatabaseUnfit
from reconciler.postgres.connection.tls import check_files

DSN = "postgresql:///?service=app"


@pytest.mark.parametrize("content", [None, "[other]\nhost=db\n", "no section"])
def test_it_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, content: str | None) -> None:
    file = tmp_path / "services"
    monkeypatch.setenv("PGSERVICEFILE", str(file))
    if content is not None:
        file.write_text(content)

    with pytest.raises(DatabaseUnfit, match="services defines no service app: check service in"):
        check_files(DSN)


def test_one_that_is_defined(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "services").write_text("[app]\nhost=db\n")
    monkeypatch.setenv("PGSERVICEFILE", str(tmp_path / "services"))

    check_files(DSN)
