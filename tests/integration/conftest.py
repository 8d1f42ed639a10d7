from __future__ import annotations

from datetime import timedelta

import pytest

from reconciler.worker import reporter
from reconciler.worker.database import writer
from tests.support.polling import PATIENCE


@pytest.fixture(autouse=True)
def time_to_write(monkeypatch: pytest.MonkeyPatch) -> None:
    """Give the main path's write plenty of time, unless a test limits it."""
    monkeypatch.setattr(writer, "WRITE_TIMEOUT", PATIENCE)
    monkeypatch.setattr(reporter, "ATTEMPT", timedelta(seconds=2 * PATIENCE))
    monkeypatch.setattr(reporter, "LONGEST_HOLD", timedelta(seconds=4 * PATIENCE))
