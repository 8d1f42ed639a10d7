"""What a worker does about the ends of its workflows after their close."""

from __future__ import annotations

import pytest

from reconciler.core.model import Finish
from reconciler.worker.after_close import backlog
from reconciler.worker.after_close.finisher import Finisher
from reconciler.worker.after_close.notice import EndNotice


@pytest.fixture
def notices(monkeypatch: pytest.MonkeyPatch) -> list[EndNotice]:
    """The notices that the worker has taken."""
    taken: list[EndNotice] = []
    take = backlog.Backlog.take

    def record(self: backlog.Backlog, notice: EndNotice) -> None:
        taken.append(notice)
        take(self, notice)

    monkeypatch.setattr(backlog.Backlog, "take", record)
    return taken


@pytest.fixture
def tries(monkeypatch: pytest.MonkeyPatch) -> list[EndNotice]:
    """The notices whose rows the worker has tried to write."""
    tried: list[EndNotice] = []
    write = Finisher.write

    async def record(self: Finisher, notice: EndNotice, finish: Finish) -> bool:
        is_found = await write(self, notice, finish)
        tried.append(notice)
        return is_found

    monkeypatch.setattr(Finisher, "write", record)
    return tried
