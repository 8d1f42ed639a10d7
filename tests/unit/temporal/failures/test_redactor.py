"""Redaction outside the event loop, which keeps running whatever an expression does."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from typing import Any, cast

import pytest
import regex
from structlog.testing import capture_logs

from reconciler.core.model import CloseStatus, Observation, Unknown
from reconciler.core.redaction import REDACTED, UNSEARCHED, Redaction
from reconciler.temporal.failures.redactor import Redactor
from reconciler.temporal.observe.namespaces import NamespacesProbe
from tests.support.factories import closed, row
from tests.support.temporal.stubs import rpc

HOSTILE = "a" * 10_000 + "!"
REPORT = cast("Any", None)


def redactor(*expressions: str) -> Redactor:
    return Redactor(Redaction(tuple(map(regex.compile, expressions))), 2000)


class Stuck:
    """An expression whose search ends when released."""

    def __init__(self) -> None:
        self.go = threading.Event()
        self.searching = 0

    def finditer(self, _: str, **__: object) -> Iterator[Any]:
        self.searching += 1
        self.go.wait()
        return iter(())


@pytest.fixture
def stuck() -> Iterator[Stuck]:
    stuck = Stuck()
    yield stuck
    stuck.go.set()


def stuck_redactor(stuck: Stuck, patience: float) -> Redactor:
    return Redactor(Redaction((cast("Any", stuck),)), 2000, patience)


async def test_matches_are_removed() -> None:
    assert await redactor(r"\d+").hide("no 1234") == f"no {REDACTED}"
    assert await redactor(r"\d+").line("no\n1234") == f"no {REDACTED}"
    assert await redactor().hide("two\nlines") == "two\nlines"


async def test_the_event_loop_keeps_running_while_an_expression_backtracks() -> None:
    hiding = asyncio.create_task(redactor("(a+)+$").hide(HOSTILE))
    turns = 0
    while not hiding.done():
        await asyncio.sleep(0.001)
        turns += 1

    assert await hiding == UNSEARCHED
    assert turns > 5


async def test_only_a_text_that_cannot_be_searched_in_time_is_replaced() -> None:
    one = redactor("(a+)+$")

    texts = [await one.hide(text) for text in ("fine", HOSTILE, "caa", HOSTILE)]

    assert texts == ["fine", UNSEARCHED, f"c{REDACTED}", UNSEARCHED]


async def test_waiting_for_other_texts_counts_towards_the_limit(stuck: Stuck) -> None:
    one = stuck_redactor(stuck, 0.01)

    texts = await asyncio.gather(one.hide("x"), one.hide("y"))

    assert list(texts) == [UNSEARCHED] * 2


async def test_one_text_is_searched_at_a_time(stuck: Stuck) -> None:
    one = stuck_redactor(stuck, 60)
    hiding = [asyncio.create_task(one.hide("x")) for _ in range(16)]
    while not stuck.searching:
        await asyncio.sleep(0.001)

    assert stuck.searching == 1
    stuck.go.set()
    assert await asyncio.gather(*hiding) == ["x"] * 16


async def test_each_pass_logs_once_how_many_texts_were_replaced() -> None:
    one = redactor("(a+)+$")
    await asyncio.gather(one.hide(HOSTILE), one.hide(HOSTILE))

    with capture_logs() as lines:
        await one.on_pass(REPORT)
        await one.on_pass(REPORT)

    assert [(line["log_level"], line["failures"]) for line in lines] == [("warning", 2)]
    assert "RECONCILER_REDACT" in lines[0]["hint"]


@pytest.mark.parametrize(
    ("found", "observed"),
    [
        (closed(CloseStatus.FAILED, "no 1234"), closed(CloseStatus.FAILED, f"no {REDACTED}")),
        (closed(), closed()),
        # A status of the server is not the workflow's data.
        (Unknown("no 1234"), Unknown("no 1234")),
    ],
)
async def test_a_probe_returns_only_redacted_failures(
    monkeypatch: pytest.MonkeyPatch, found: Observation, observed: Observation
) -> None:
    async def observe(*_: object) -> Observation:
        return found

    probe = NamespacesProbe(rpc(object()), redactor=redactor(r"\d+"))
    for name in ("observe", "observe_current"):
        monkeypatch.setattr(f"reconciler.temporal.observe.probe.TemporalProbe.{name}", observe)

    assert await probe.observe(row(1)) == observed
    assert await probe.observe_current("wf") == observed
