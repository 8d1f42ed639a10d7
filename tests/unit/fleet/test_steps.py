"""Signs of life, and errors in one line."""

from __future__ import annotations

import asyncio
from dataclasses import asdict
from typing import Any

import pytest
from structlog.testing import capture_logs
from temporalio.exceptions import ApplicationError
from temporalio.testing import ActivityEnvironment

from reconciler.core.errors import TemporalUnusable
from reconciler.fleet import steps
from reconciler.fleet.apps import Refused
from reconciler.fleet.messages import Span
from reconciler.fleet.steps import Steps, beat
from tests.support.polling import deadline

GIVEN = asdict(Span(1, 2))


def make(do: Any, all_steps: Steps | None = None) -> Any:
    return (all_steps or Steps()).make("step", Span, do)


async def test_a_timer_repeats_the_last_heartbeat(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(steps, "BEAT_EVERY", 0.01)
    environment, repeated, beats = ActivityEnvironment(), asyncio.Event(), list[Any]()

    def note(*details: Any) -> None:
        beats.append(details)
        if len(beats) > 3:
            repeated.set()

    environment.on_heartbeat = note

    async def slow(given: Span) -> Any:
        beat({"after": given.until})
        async with deadline():
            await repeated.wait()
        return given.after

    assert await environment.run(make(slow), GIVEN) == 1
    assert set(map(str, beats)) == {"({'after': 2},)"}


@pytest.mark.parametrize(
    ("error", "kind", "lasts"),
    [
        (Refused("another table"), "Refused", False),
        (Refused("too slow", lasts=True), "Refused", True),
        (TemporalUnusable("down", "start it"), "Unusable", False),
    ],
)
async def test_an_error_is_one_line_for_the_workflow(
    error: Exception, kind: str, lasts: bool
) -> None:
    async def fail(given: Span) -> None:
        raise error

    with capture_logs(), pytest.raises(ApplicationError) as failed:
        await ActivityEnvironment().run(make(fail), GIVEN)

    assert failed.value.message == str(error)
    assert (failed.value.type, failed.value.non_retryable) == (kind, lasts)


async def test_a_refusal_is_logged_once() -> None:
    async def refuse(given: Span) -> None:
        raise Refused("another table")

    step = make(refuse)
    with capture_logs() as logs:
        for _ in range(3):
            with pytest.raises(ApplicationError):
                await ActivityEnvironment().run(step, GIVEN)

    assert [line["log_level"] for line in logs] == ["warning", "debug", "debug"]


async def test_an_unknown_input_is_refused() -> None:
    async def never(given: Span) -> None:
        raise AssertionError

    with capture_logs(), pytest.raises(ApplicationError, match="until: field required"):
        await ActivityEnvironment().run(make(never), {"after": 1})
