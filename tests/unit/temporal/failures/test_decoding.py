"""Whatever the codec does, there is a text; and one that is away holds nobody up."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence

import pytest
from structlog.testing import capture_logs
from structlog.typing import EventDict
from temporalio.api.common.v1 import Payload
from temporalio.api.history.v1 import HistoryEvent

from reconciler.host.causes import MAX_CAUSES
from reconciler.temporal.failures.close import describe_close
from reconciler.temporal.failures.decoding import (
    AT_ONCE,
    MAX_UNUSABLE,
    REST,
    CodecUnusable,
    Decoding,
    Undecodable,
    try_sample,
)
from tests.support.polling import PATIENCE, eventually
from tests.support.temporal.failures import closing, in_activity, refused

ENCODED = "Refused: Encoded failure"
CLEAR = "Refused: no money"

Answers = Sequence[str | Undecodable]


class Scripted:
    """A decoder that does what the test says."""

    def __init__(self, do: Callable[[], Awaitable[Answers]]) -> None:
        self.do, self.asked, self.now, self.most_at_once = do, 0, 0, 0

    async def decode(self, payloads: Sequence[Payload], *_: str) -> Answers:
        self.asked += 1
        self.now += 1
        self.most_at_once = max(self.most_at_once, self.now)
        try:
            return await self.do()
        finally:
            self.now -= 1

    async def sample(self, namespace: str) -> str:
        return f"{namespace}: {await self.do()}"

    async def close(self) -> None:
        pass


def answering(*messages: str | Undecodable) -> Scripted:
    async def answer() -> Answers:
        return messages

    return Scripted(answer)


def raising(error: BaseException) -> Scripted:
    async def fail() -> Answers:
        raise error

    return Scripted(fail)


class Odd(BaseException):
    """No `Exception`."""


def hanging() -> Scripted:
    async def hang() -> Answers:
        await asyncio.Event().wait()
        raise AssertionError

    return Scripted(hang)


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


async def text(decoding: Decoding, event: HistoryEvent | None = None) -> str:
    event = closing(refused()) if event is None else event
    return describe_close(await decoding.event(event, "ns", "wf"))


def log_lines(decoding: Decoding) -> list[EventDict]:
    with capture_logs() as lines:
        decoding.log_undecoded()
    return lines


async def test_a_failure_is_put_in_clear() -> None:
    decoding = Decoding(answering("Activity task failed", "no money"), 5)

    assert await text(decoding, closing(in_activity(refused()))) == (
        "activity charge failed: Refused: no money"
    )
    assert (decoding.undecoded, log_lines(decoding)) == (0, [])


async def test_nobody_is_asked_about_what_is_not_encoded() -> None:
    decoder = answering()

    plain = closing(refused())
    plain.workflow_execution_failed_event_attributes.failure.ClearField("encoded_attributes")
    assert await text(Decoding(decoder, 5), plain) == ENCODED
    other = HistoryEvent()
    assert await Decoding(decoder, 5).event(other, "ns", "wf") is other
    assert decoder.asked == 0


@pytest.mark.parametrize(
    ("decoder", "why"),
    [
        pytest.param(raising(Undecodable("HTTP 400")), "HTTP 400", id="cannot"),
        pytest.param(raising(CodecUnusable("refused")), "refused", id="is away"),
        pytest.param(raising(KeyError("s3cret")), "KeyError", id="has a bug"),
        pytest.param(raising(RecursionError()), "RecursionError", id="has a bug of another kind"),
        pytest.param(answering(Undecodable("wrong key")), "wrong key", id="cannot this one"),
        pytest.param(raising(Odd("s3cret")), "Odd", id="raises what nobody catches"),
        pytest.param(raising(asyncio.CancelledError()), "CancelledError", id="cancels itself"),
        pytest.param(answering(), "ValueError", id="too few answers"),
        pytest.param(answering("a", "b"), "ValueError", id="too many answers"),
        pytest.param(answering("\ud800"), "UnicodeEncodeError", id="what no proto takes"),
        pytest.param(answering(5), "TypeError", id="no text"),  # type: ignore[arg-type]
    ],
)
async def test_what_cannot_be_decoded_keeps_its_text_and_is_logged(
    decoder: Scripted, why: str
) -> None:
    decoding = Decoding(decoder, 5)

    assert await text(decoding) == ENCODED
    assert decoding.undecoded == 1
    (line,) = log_lines(decoding)
    assert (line["log_level"], line["failures"], line["why"]) == ("warning", 1, f"{why} (1)")
    assert log_lines(decoding) == []


async def test_what_can_be_decoded_of_a_chain_is() -> None:
    decoding = Decoding(answering(Undecodable("wrong key"), "no money"), 5)

    assert await text(decoding, closing(refused(cause=refused()))) == f"{ENCODED}: {CLEAR}"
    assert decoding.undecoded == 1


async def test_one_line_for_a_pass_with_the_reasons_by_number() -> None:
    decoder = raising(Undecodable("HTTP 400"))
    decoding = Decoding(decoder, 5)
    await text(decoding)
    decoder.do = raising(Undecodable("wrong key")).do
    await text(decoding)
    await text(decoding)

    (line,) = log_lines(decoding)
    assert (line["failures"], line["why"]) == (3, "wrong key (2); HTTP 400 (1)")


async def test_reasons_without_end_do_not_fill_the_memory() -> None:
    decoder = raising(Undecodable("0"))
    decoding = Decoding(decoder, 5)
    for number in range(MAX_CAUSES + 10):
        decoder.do = raising(Undecodable(str(number))).do
        await text(decoding)

    (line,) = log_lines(decoding)
    assert line["failures"] == MAX_CAUSES + 10
    assert line["why"].startswith("other causes (10); ")


async def test_a_codec_that_hangs_is_given_up() -> None:
    decoding = Decoding(hanging(), 0.01)

    assert await text(decoding) == ENCODED
    assert log_lines(decoding)[0]["why"] == "no answer within 0.01 s (1)"


@pytest.mark.parametrize("away", [raising(CodecUnusable("refused")), hanging()])
async def test_a_codec_that_is_away_is_left_alone_for_a_while(away: Scripted) -> None:
    clock = Clock()
    decoder = Scripted(away.do)
    decoding = Decoding(decoder, 0.01, clock)
    for _ in range(10):
        assert await text(decoding) == ENCODED
    assert decoder.asked == MAX_UNUSABLE

    clock.now += REST
    await text(decoding)
    await text(decoding)
    assert decoder.asked == MAX_UNUSABLE + 1, "one try is enough to see that it is still away"

    clock.now += REST
    decoder.do = answering("no money").do
    for _ in range(5):
        assert await text(decoding) == CLEAR
    assert decoding.undecoded == 12
    assert "the codec failed just now, and was not called (8)" in log_lines(decoding)[0]["why"]


async def test_a_codec_is_not_away_that_answers_within_its_time() -> None:
    clock = Clock()

    async def slowly() -> Answers:
        clock.now += 29
        return ["no money"]

    decoding = Decoding(Scripted(slowly), 30, clock)

    assert [await text(decoding) for _ in range(40)] == [CLEAR] * 40
    assert decoding.undecoded == 0


@pytest.mark.parametrize(
    "between", [answering("no money"), raising(Undecodable("HTTP 400"))], ids=["good", "bad"]
)
async def test_a_codec_that_answers_in_between_is_not_away(between: Scripted) -> None:
    decoder = raising(CodecUnusable("refused"))
    away = decoder.do
    decoding = Decoding(decoder, 5)
    for _ in range(5):
        decoder.do = away
        for _ in range(MAX_UNUSABLE - 1):
            await text(decoding)
        decoder.do = between.do
        await text(decoding)

    assert decoder.asked == 5 * MAX_UNUSABLE


async def test_what_it_cannot_decode_does_not_make_it_rest() -> None:
    decoder = raising(Undecodable("HTTP 400"))
    decoding = Decoding(decoder, 5)
    for _ in range(20):
        await text(decoding)

    assert decoder.asked == 20


async def test_a_few_are_decoded_at_once_and_all_that_fail_together_hold_up_the_rest_once() -> None:
    gone = asyncio.Event()

    async def hang_up() -> Answers:
        await gone.wait()
        raise CodecUnusable("hung up")

    decoder = Scripted(hang_up)
    decoding = Decoding(decoder, PATIENCE)
    texts = asyncio.gather(*(text(decoding) for _ in range(50)))

    async def asked() -> bool:
        return decoder.asked == AT_ONCE

    await eventually(asked)
    gone.set()

    assert await texts == [ENCODED] * 50
    assert decoder.asked == decoder.most_at_once == AT_ONCE


async def test_a_hang_is_waited_for_by_no_more_than_were_asked_before_it_was_noticed() -> None:
    """Each has a time limit of its own: a place may be taken again before the last one ends."""
    decoder = hanging()
    decoding = Decoding(decoder, 0.1)

    texts = await asyncio.gather(*(text(decoding) for _ in range(50)))

    assert texts == [ENCODED] * 50
    assert decoder.most_at_once == AT_ONCE <= decoder.asked < AT_ONCE + MAX_UNUSABLE


async def test_it_can_be_cancelled() -> None:
    decoder = hanging()
    decoding = Decoding(decoder, 60)
    task = asyncio.create_task(text(decoding))

    async def asked() -> bool:
        return decoder.now == 1

    await eventually(asked)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert (decoder.now, decoding.undecoded) == (0, 0)


@pytest.mark.parametrize(
    ("decoder", "ok", "line"),
    [
        (answering("fine"), True, "ns: ('fine',)"),
        (raising(CodecUnusable("HTTP 401")), False, "HTTP 401"),
        (raising(KeyError("s3cret")), False, "KeyError"),
        (hanging(), False, "no answer within 0.01 s"),
    ],
)
async def test_a_sample_says_what_happened(decoder: Scripted, ok: bool, line: str) -> None:
    sample = await try_sample(decoder, "ns", 0.01)

    assert (sample.ok, sample.text) == (ok, line)
