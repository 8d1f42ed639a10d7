"""The page that the settings ask for."""

from __future__ import annotations

from pathlib import Path

import pytest

from reconciler.core.errors import ConfigurationError
from reconciler.daemon.page import open_page
from reconciler.settings.model import Settings
from tests.support.page.asking import asking
from tests.support.page.source import FakeSource


async def status(**settings: object) -> int | None:
    given = Settings.model_validate({"database_url": "postgresql://u@h/d", **settings})
    page = open_page([given], {"": FakeSource()})
    if page is None:
        return None
    async with asking(page) as client:
        return (await client.get("http://localhost/", auth=("x", "s3cret"))).status_code


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({}, 200),
        ({"http_host": "0.0.0.0"}, 403),
        ({"http_host": "0.0.0.0", "page": "open"}, 200),
        ({"http_host": "0.0.0.0", "page_password": "s3cret"}, 200),
        ({"page_password": "another"}, 401),
        ({"page": "off"}, None),
        ({"page": "off", "page_password": "s3cret"}, None),
    ],
)
async def test_who_may_see_it(settings: dict[str, object], expected: int | None) -> None:
    assert await status(**settings) == expected


async def test_a_password_file_that_does_not_exist(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="RECONCILER_PAGE_PASSWORD_FILE: cannot read"):
        await status(page_password_file=str(tmp_path / "none"))
