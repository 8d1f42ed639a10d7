from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import structlog
from structlog.typing import EventDict
from temporalio.api.workflowservice.v1 import (
    DescribeWorkflowExecutionRequest,
    DescribeWorkflowExecutionResponse,
)
from temporalio.service import RPCStatusCode

from reconciler.core.errors import TemporalUnfit
from reconciler.temporal.client.rpc import Rpc
from reconciler.temporal.config.api_key import KeyFile
from tests.support.temporal.stubs import Namespaces, as_asked, error, rpc


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "key"
    path.write_text("old\n")
    return path


@pytest.fixture
def key_file(path: Path, clock: Clock) -> KeyFile:
    return KeyFile(str(path), clock)


def warnings(logged: list[EventDict]) -> list[EventDict]:
    return [line for line in logged if line["log_level"] == "warning"]


def test_a_changed_file_is_noticed_within_a_second(
    path: Path, key_file: KeyFile, clock: Clock
) -> None:
    given: list[str] = []
    key_file.on_change = given.append
    path.write_text("new")
    clock.now = 0.9

    assert key_file.current() == "old", "not read for each call"
    clock.now = 1.0
    assert key_file.current() == "new"
    assert given == ["new"]


def test_rewriting_the_same_key_is_not_logged(path: Path, key_file: KeyFile) -> None:
    key_file.on_change = lambda _: pytest.fail("it has not changed")
    path.write_text("old")

    assert key_file.current(force=True) == "old"


@pytest.mark.parametrize("content", [None, "", "two\nlines"], ids=["gone", "empty", "no key"])
def test_the_last_key_is_kept_when_its_file_becomes_unusable(
    path: Path, key_file: KeyFile, content: str | None
) -> None:
    path.unlink()
    if content is not None:
        path.write_text(content)

    with structlog.testing.capture_logs() as logged:
        assert [key_file.current(force=True) for _ in range(3)] == ["old"] * 3

    assert len(warnings(logged)) == 1, "logged once"
    assert str(path) in warnings(logged)[0]["error"]


def test_a_problem_with_the_file_is_logged_again_after_recovery(
    path: Path, key_file: KeyFile
) -> None:
    with structlog.testing.capture_logs() as logged:
        for content in ("", "new", ""):
            path.write_text(content)
            key_file.current(force=True)

    assert key_file.current() == "new"
    assert len(warnings(logged)) == 2
    assert "new" not in [value for line in logged for value in line.values()], "no key in the log"


class Guarded(Namespaces):
    """A service that accepts one key; `key` is what the client sends."""

    def __init__(self, takes: str, key_file: KeyFile, refusal: RPCStatusCode) -> None:
        self.takes, self.key, self.tries, self._refusal = takes, "old", 0, refusal
        key_file.on_change = lambda key: setattr(self, "key", key)

    async def describe_workflow_execution(
        self, request: DescribeWorkflowExecutionRequest, **options: Any
    ) -> DescribeWorkflowExecutionResponse:
        self.tries += 1
        if self.key != self.takes:
            raise error(self._refusal)
        return as_asked(request)

    def rpc(self, key_file: KeyFile) -> Rpc:
        plain = rpc(self)
        return Rpc(plain.client, plain._calls.limiter, key_file)


@pytest.mark.parametrize(
    "refusal", [RPCStatusCode.UNAUTHENTICATED, RPCStatusCode.PERMISSION_DENIED]
)
async def test_a_refused_key_is_reread_at_once(
    path: Path, key_file: KeyFile, refusal: RPCStatusCode
) -> None:
    path.write_text("new")
    service = Guarded("new", key_file, refusal)

    await service.rpc(key_file).describe("wf")

    assert service.tries == 2


async def test_a_refused_key_that_has_not_changed_is_not_retried(
    key_file: KeyFile,
) -> None:
    service = Guarded("other", key_file, RPCStatusCode.UNAUTHENTICATED)

    with pytest.raises(TemporalUnfit):
        await service.rpc(key_file).describe("wf")

    assert service.tries == 1


async def test_a_call_is_retried_once_even_if_the_file_keeps_changing(
    path: Path, key_file: KeyFile
) -> None:
    class Restless(Guarded):
        async def describe_workflow_execution(
            self, request: DescribeWorkflowExecutionRequest, **options: Any
        ) -> DescribeWorkflowExecutionResponse:
            path.write_text(f"new-{self.tries}")
            assert self.tries < 2, "once is enough"
            return await super().describe_workflow_execution(request, **options)

    service = Restless("other", key_file, RPCStatusCode.UNAUTHENTICATED)

    with pytest.raises(TemporalUnfit):
        await service.rpc(key_file).describe("wf")

    assert service.tries == 2


async def test_prioritized_calls_reread_the_key_too(path: Path, key_file: KeyFile) -> None:
    path.write_text("new")
    service = Guarded("new", key_file, RPCStatusCode.UNAUTHENTICATED)

    await service.rpc(key_file).prioritized().describe("wf")

    assert service.tries == 2


async def test_a_refused_call_uses_the_key_that_another_call_has_read(
    path: Path, key_file: KeyFile
) -> None:
    class Overtaken(Guarded):
        async def describe_workflow_execution(
            self, request: DescribeWorkflowExecutionRequest, **options: Any
        ) -> DescribeWorkflowExecutionResponse:
            with_key = self.key
            if with_key == "old":  # another call sees the new key while this one is under way
                path.write_text("new")
                key_file.current(force=True)
            self.tries += 1
            if with_key != self.takes:
                raise error(self._refusal)
            return as_asked(request)

    service = Overtaken("new", key_file, RPCStatusCode.UNAUTHENTICATED)

    await service.rpc(key_file).describe("wf")

    assert service.tries == 2
