"""Whatever the codec does, failures get a text, and a codec that is down delays nothing."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Awaitable, Callable, Sequence

import pytest
from structlog.testing import capture_logs
from structlog.typing import EventDict
from temporalio.api.common.v1 import Payload
from temporalio.api.history.v1 import HistoryEvent

from reconciler.core.errors import ConfigurationError
from reconciler.host.causes import MAX_CAUSES
from reconciler.temporal.failures.close_event import describe_close
from reconciler.temporal.failures.codec import CodecUnusable, Undecodable, try_sample
from reconciler.temporal.failures.failure_decoder import (
    MAX_CONCURRENT,
    MAX_UNUSABLE,
    PAUSE_SECONDS,
    FailureDecoder,
    make_codec,
)
from tests.support.polling import PATIENCE, eventually
from tests.support.temporal.failures import closing, in_activity, refused

ENCODED = "Refused: Encoded failure"
CLEAR = "Refused: no money"

Answers = Sequence[str | Undecodable]


class Scripted:
    """A codec that does what the test says."""

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
    """Not an `Exception`."""


def hanging() -> Scripted:
    async def hang() -> Answers:
        await asyncio.Event().wait()
        raise AssertionError

    return Scripted(hang)


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


async def text(decoder: FailureDecoder, event: HistoryEvent | None = None) -> str:
    event = closing(refused()) if event is None else event
    return describe_close(await decoder.decode_event(event, "ns", "wf"))


def log_lines(decoder: FailureDecoder) -> list[EventDict]:
    with capture_logs() as lines:
        decoder.log_undecoded()
    return lines


async def test_a_failure_is_decoded() -> None:
    decoder = FailureDecoder(answering("Activity task failed", "no money"), 5)

    assert await text(decoder, closing(in_activity(refused()))) == (
        "activity charge failed: Refused: no money"
    )
    assert (decoder.undecoded, log_lines(decoder)) == (0, [])


async def test_the_codec_is_not_called_for_what_is_not_encoded() -> None:
    codec = answering()

    plain = closing(refused())
    plain.workflow_execution_failed_event_attributes.failure.ClearField("encoded_attributes")
    assert await text(FailureDecoder(codec, 5), plain) == ENCODED
    alone = plain.workflow_execution_failed_event_attributes.failure
    assert await FailureDecoder(codec, 5).decode(alone, "ns", "wf") is alone
    other = HistoryEvent()
    assert await FailureDecoder(codec, 5).decode_event(other, "ns", "wf") is other
    assert codec.asked == 0


@pytest.mark.parametrize(
    ("codec", "why"),
    [
        pytest.param(raising(Undecodable("HTTP 400")), "HTTP 400", id="HTTP error"),
        pytest.param(raising(CodecUnusable("refused")), "refused", id="unusable"),
        pytest.param(raising(KeyError("s3cret")), "KeyError", id="has a bug"),
        pytest.param(raising(RecursionError()), "RecursionError", id="has another bug"),
        pytest.param(answering(Undecodable("wrong key")), "wrong key", id="one payload"),
        pytest.param(raising(Odd("s3cret")), "Odd", id="raises no Exception"),
        pytest.param(raising(asyncio.CancelledError()), "CancelledError", id="cancels itself"),
        pytest.param(answering(), "ValueError", id="too few answers"),
        pytest.param(answering("a", "b"), "ValueError", id="too many answers"),
        pytest.param(answering("\ud800"), "UnicodeEncodeError", id="invalid in a proto"),
        pytest.param(answering(5), "TypeError", id="not a text"),  # type: ignore[arg-type]
    ],
)
async def test_an_undecodable_failure_keeps_its_text_and_is_logged(
    codec: Scripted, why: str
) -> None:
    decoder = FailureDecoder(codec, 5)

    assert await text(decoder) == ENCODED
    assert decoder.undecoded == 1
    (line,) = log_lines(decoder)
    assert (line["log_level"], line["failures"], line["why"]) == ("warning", 1, f"{why} (1)")
    assert log_lines(decoder) == []


async def test_a_chain_may_be_decoded_in_part() -> None:
    decoder = FailureDecoder(answering(Undecodable("wrong key"), "no money"), 5)

    assert await text(decoder, closing(refused(cause=refused()))) == f"{ENCODED}: {CLEAR}"
    assert decoder.undecoded == 1


async def test_a_pass_logs_one_line_with_the_reasons_by_frequency() -> None:
    codec = raising(Undecodable("HTTP 400"))
    decoder = FailureDecoder(codec, 5)
    await text(decoder)
    codec.do = raising(Undecodable("wrong key")).do
    await text(decoder)
    await text(decoder)

    (line,) = log_lines(decoder)
    assert (line["failures"], line["why"]) == (3, "wrong key (2); HTTP 400 (1)")


async def test_a_pass_logs_its_reasons_even_if_the_last_one_had_the_same() -> None:
    decoder = FailureDecoder(raising(Undecodable("HTTP 400")), 5)

    for _ in range(2):
        await text(decoder)
        assert len(log_lines(decoder)) == 1


async def test_countless_reasons_do_not_fill_the_memory() -> None:
    codec = raising(Undecodable("0"))
    decoder = FailureDecoder(codec, 5)
    for number in range(MAX_CAUSES + 10):
        codec.do = raising(Undecodable(str(number))).do
        await text(decoder)

    (line,) = log_lines(decoder)
    assert line["failures"] == MAX_CAUSES + 10
    assert line["why"].startswith("other causes (10); ")


async def test_a_codec_that_hangs_times_out() -> None:
    decoder = FailureDecoder(hanging(), 0.01)

    assert await text(decoder) == ENCODED
    assert log_lines(decoder)[0]["why"] == "no answer within 0.01 s (1)"


@pytest.mark.parametrize("down", [raising(CodecUnusable("refused")), hanging()])
async def test_a_codec_that_is_down_is_not_called_for_a_while(down: Scripted) -> None:
    clock = Clock()
    codec = Scripted(down.do)
    decoder = FailureDecoder(codec, 0.01, clock)
    for _ in range(10):
        assert await text(decoder) == ENCODED
    assert codec.asked == MAX_UNUSABLE

    clock.now += PAUSE_SECONDS
    await text(decoder)
    await text(decoder)
    assert codec.asked == MAX_UNUSABLE + 1, "one call is enough to see that it is still down"

    clock.now += PAUSE_SECONDS
    codec.do = answering("no money").do
    for _ in range(5):
        assert await text(decoder) == CLEAR
    assert decoder.undecoded == 12
    assert "the codec failed just now, and was not called (8)" in log_lines(decoder)[0]["why"]


async def test_a_slow_codec_is_not_down() -> None:
    clock = Clock()

    async def slowly() -> Answers:
        clock.now += 29
        return ["no money"]

    decoder = FailureDecoder(Scripted(slowly), 30, clock)

    assert [await text(decoder) for _ in range(40)] == [CLEAR] * 40
    assert decoder.undecoded == 0


@pytest.mark.parametrize(
    "between", [answering("no money"), raising(Undecodable("HTTP 400"))], ids=["good", "bad"]
)
async def test_a_codec_that_answers_in_between_is_not_down(between: Scripted) -> None:
    codec = raising(CodecUnusable("refused"))
    down = codec.do
    decoder = FailureDecoder(codec, 5)
    for _ in range(5):
        codec.do = down
        for _ in range(MAX_UNUSABLE - 1):
            await text(decoder)
        codec.do = between.do
        await text(decoder)

    assert codec.asked == 5 * MAX_UNUSABLE


async def test_undecodable_failures_do_not_pause_the_calls() -> None:
    codec = raising(Undecodable("HTTP 400"))
    decoder = FailureDecoder(codec, 5)
    for _ in range(20):
        await text(decoder)

    assert codec.asked == 20


async def test_the_calls_that_fail_together_delay_the_others_once() -> None:
    gone = asyncio.Event()

    async def hang_up() -> Answers:
        await gone.wait()
        raise CodecUnusable("hung up")

    codec = Scripted(hang_up)
    decoder = FailureDecoder(codec, PATIENCE)
    texts = asyncio.gather(*(text(decoder) for _ in range(50)))

    async def asked() -> bool:
        return codec.asked == MAX_CONCURRENT

    await eventually(asked)
    gone.set()

    assert await texts == [ENCODED] * 50
    assert codec.asked == codec.most_at_once == MAX_CONCURRENT


async def test_a_hanging_codec_delays_few_calls() -> None:
    """Each call has its own time limit: a slot may be free before the last one ends."""
    codec = hanging()
    decoder = FailureDecoder(codec, 0.1)

    texts = await asyncio.gather(*(text(decoder) for _ in range(50)))

    assert texts == [ENCODED] * 50
    assert codec.most_at_once == MAX_CONCURRENT <= codec.asked < MAX_CONCURRENT + MAX_UNUSABLE


async def test_decoding_can_be_cancelled() -> None:
    codec = hanging()
    decoder = FailureDecoder(codec, 60)
    task = asyncio.create_task(text(decoder))

    async def asked() -> bool:
        return codec.now == 1

    await eventually(asked)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert (codec.now, decoder.undecoded) == (0, 0)


@pytest.mark.parametrize(
    ("codec", "ok", "line"),
    [
        (answering("fine"), True, "ns: ('fine',)"),
        (raising(CodecUnusable("HTTP 401")), False, "HTTP 401"),
        (raising(KeyError("s3cret")), False, "KeyError"),
        (hanging(), False, "no answer within 0.01 s"),
    ],
)
async def test_a_sample_says_what_happened(codec: Scripted, ok: bool, line: str) -> None:
    sample = await try_sample(codec, "ns", 0.01)

    assert (sample.ok, sample.text) == (ok, line)


def test_a_codec_server_without_its_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "httpx", None)
    monkeypatch.delitem(sys.modules, "reconciler.temporal.failures.codec_server", raising=False)

    with pytest.raises(ConfigurationError) as error:
        make_codec(None, "https://codec", [])

    assert str(error.value) == (
        "RECONCILER_CODEC_ENDPOINT needs the package httpx: pip install httpx, or the extra "
        "temporal-reconciler[codec]"
    )
    assert make_codec(None, None, []) is None
