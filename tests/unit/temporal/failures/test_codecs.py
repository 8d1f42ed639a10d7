"""Codecs that do what no codec should."""

from __future__ import annotations

import asyncio
import dataclasses
import json
import re
import sys
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from typing import Any

import pytest
from temporalio.api.common.v1 import Payload
from temporalio.converter import (
    CompositePayloadConverter,
    DataConverter,
    JSONPlainPayloadConverter,
    PayloadCodec,
    SerializationContext,
    WithSerializationContext,
    WorkflowSerializationContext,
)

from reconciler.temporal.failures.attributes import encoded_attributes
from reconciler.temporal.failures.data_converter import ConverterDecoder
from reconciler.temporal.failures.decoding import Decoding, try_sample
from reconciler.temporal.failures.text import describe_failure
from tests.support.network.codecs import Sealed, sealing
from tests.support.polling import eventually
from tests.support.temporal.failures import in_activity, refused, sealed

SECRET = "s3cret"


class Codec(PayloadCodec):
    """Decodes as the test says."""

    def __init__(self, do: Callable[[], Awaitable[list[Payload]]]) -> None:
        self.do = do

    async def encode(self, payloads: Sequence[Payload]) -> list[Payload]:
        return list(payloads)

    async def decode(self, payloads: Sequence[Payload]) -> list[Payload]:
        return await self.do()


def codec(do: Callable[[], Any]) -> PayloadCodec:
    async def decode() -> list[Payload]:
        made: list[Payload] = do()
        return made

    return Codec(decode)


def plain(value: object) -> Payload:
    return DataConverter.default.payload_converter.to_payloads([value])[0]


class Odd(BaseException):
    """No `Exception`."""


def fail(error: BaseException) -> Callable[[], Any]:
    def do() -> Any:
        raise error

    return do


@pytest.fixture
async def decoders() -> AsyncIterator[list[ConverterDecoder]]:
    """Closed in the end."""
    made: list[ConverterDecoder] = []
    yield made
    for decoder in made:
        await decoder.close()


Decoders = list[ConverterDecoder]


async def _is(what: list[str]) -> bool:
    return bool(what)


async def text(
    decoders: Decoders, converter: DataConverter, key: str = "right", seconds: float = 5
) -> tuple[str, str]:
    """The text of a sealed failure, and why it could not be decoded."""
    decoders.append(ConverterDecoder(converter))
    decoding = Decoding(decoders[-1], seconds)
    failure = await sealed(in_activity(refused()), sealing(Sealed(key)))
    described = describe_failure(await decoding.failure(failure, "ns", "wf"))
    return described, "; ".join(decoding._unlogged)


async def test_the_right_key(decoders: Decoders) -> None:
    assert await text(decoders, sealing()) == ("activity charge failed: Refused: no money", "")


async def test_another_key_leaves_names_and_types(decoders: Decoders) -> None:
    assert await text(decoders, sealing(), key="another") == (
        "activity charge failed: Refused: Encoded failure",
        "ValueError in the data converter, decoding",
    )


@pytest.mark.parametrize(
    ("do", "why"),
    [
        pytest.param(fail(KeyError(SECRET)), "KeyError in the data converter", id="raises"),
        pytest.param(fail(SystemExit(1)), "SystemExit in the data converter", id="exits"),
        pytest.param(fail(KeyboardInterrupt()), "KeyboardInterrupt in", id="interrupts"),
        pytest.param(fail(asyncio.CancelledError()), "CancelledError", id="cancels itself"),
        pytest.param(
            fail(Odd(SECRET)), "Odd in the data converter", id="raises what nobody catches"
        ),
        pytest.param(fail(RecursionError()), "RecursionError in", id="recurses"),
        pytest.param(fail(MemoryError()), "MemoryError in", id="takes too much"),
        pytest.param(
            fail(BaseExceptionGroup("", [Odd()])), "BaseExceptionGroup in", id="raises several"
        ),
        pytest.param(fail(TimeoutError()), "TimeoutError in the data", id="gives up by itself"),
        pytest.param(list, "the data converter makes something else", id="none"),
        pytest.param(lambda: [plain({"message": "a"})] * 2, "something else", id="one too many"),
        pytest.param(lambda: None, "TypeError in", id="nothing at all"),
        pytest.param(lambda: ["text"], "AttributeError in", id="no payload"),
        pytest.param(lambda: [plain("text")], "something else of it than", id="no attributes"),
        pytest.param(lambda: [plain({"message": None})], "something else", id="no message"),
        pytest.param(
            lambda: [Payload(metadata={"encoding": b"json/plain"}, data=b"{")],
            "in the data converter, decoding",
            id="garbage",
        ),
        pytest.param(lambda: [Payload(data=b"x")], "KeyError in", id="of an unknown encoding"),
    ],
)
async def test_a_codec_that_does_not_do_what_it_should(
    decoders: Decoders, do: Callable[[], Any], why: str
) -> None:
    described, logged = await text(decoders, sealing(codec(do)))

    assert described == "activity charge failed: Refused: Encoded failure"
    assert re.search(why, logged)
    assert SECRET not in logged


async def test_a_codec_that_hangs_is_cancelled(decoders: Decoders) -> None:
    begun: list[str] = []
    ended: list[str] = []

    async def hang() -> list[Payload]:
        begun.append("once")
        try:
            await asyncio.Event().wait()
        finally:
            ended.append("once")
        raise AssertionError

    decoders.append(ConverterDecoder(sealing(Codec(hang))))
    chain = encoded_attributes(in_activity(refused()))
    asking = asyncio.create_task(decoders[-1].decode(chain, "ns", "wf"))
    await eventually(lambda: _is(begun))
    asking.cancel()
    await eventually(lambda: _is(ended))
    with pytest.raises(asyncio.CancelledError):
        await asking
    await decoders[-1].close()
    assert begun == ended == ["once"], "the rest of the chain was tried after all"


async def test_a_codec_that_ends_its_event_loop_gets_another(decoders: Decoders) -> None:
    """Those who wait for it are not cancelled."""
    loops: list[asyncio.AbstractEventLoop] = []

    async def end_once() -> list[Payload]:
        loops.append(asyncio.get_running_loop())
        if len(loops) == 1:
            ending = loops[0].create_task(end())
            await asyncio.wait([ending])
        return [plain({"message": "clear"})]

    async def end() -> None:
        sys.exit()

    decoders.append(ConverterDecoder(sealing(Codec(end_once))))
    decoding = Decoding(decoders[-1], 5)
    failure = await sealed(refused(), sealing())

    assert await decoding.failure(failure, "ns", "wf") == failure
    await eventually(lambda: _is(["closed" for loop in loops if loop.is_closed()]))
    await decoders[-1].close()
    described = describe_failure(await decoding.failure(failure, "ns", "wf"))
    assert described == "Refused: clear"


async def test_a_codec_that_blocks_its_thread_holds_nobody_up(decoders: Decoders) -> None:
    free = threading.Event()

    def block() -> list[Payload]:
        free.wait(30)
        return [plain({"message": "late"})]

    try:
        described, why = await text(decoders, sealing(codec(block)), seconds=0.01)
    finally:
        free.set()

    assert (described, why) == (
        "activity charge failed: Refused: Encoded failure",
        "no answer within 0.01 s",
    )


async def test_a_codec_that_blocks_is_not_waited_for_when_everything_is_closed() -> None:
    free = threading.Event()
    decoder = ConverterDecoder(sealing(codec(lambda: [free.wait(30)])))
    try:
        sample = await try_sample(decoder, "ns", 0.01)
        await decoder.close()
        assert all(each.daemon for each in threading.enumerate() if each.name == "codec")
    finally:
        free.set()

    assert sample.text == "no answer within 0.01 s"


async def test_a_codec_is_always_asked_on_the_same_loop(decoders: Decoders) -> None:
    """As one with a client of its own expects it, which is bound to where it was first used."""
    loops = []

    async def note() -> list[Payload]:
        loops.append(asyncio.get_running_loop())
        return [plain({"message": "x"})]

    decoder = ConverterDecoder(sealing(Codec(note)))
    decoders.append(decoder)
    for _ in range(2):
        await decoder.decode(encoded_attributes(refused()), "ns", "wf")

    assert len(set(loops)) == 1
    assert loops[0] is not asyncio.get_running_loop()


class PerWorkflow(Sealed, WithSerializationContext):
    """A codec with a key for each workflow."""

    def with_context(self, context: SerializationContext) -> PerWorkflow:
        assert isinstance(context, WorkflowSerializationContext)
        return PerWorkflow(f"{context.namespace}/{context.workflow_id}")


async def test_a_codec_that_knows_the_workflow(decoders: Decoders) -> None:
    described, _ = await text(decoders, sealing(PerWorkflow()), key="ns/wf")

    assert described == "activity charge failed: Refused: no money"


class Wrapping(JSONPlainPayloadConverter):
    """A payload converter of the team's own."""

    def from_payload(self, payload: Payload, type_hint: type | None = None) -> Any:
        return json.loads(payload.data) | {"message": "its own"}


async def test_a_payload_converter_of_ones_own(decoders: Decoders) -> None:
    class Own(CompositePayloadConverter):
        def __init__(self) -> None:
            super().__init__(Wrapping())

    converter = dataclasses.replace(sealing(), payload_converter_class=Own)

    assert await text(decoders, converter) == ("activity charge failed: Refused: its own", "")


@pytest.mark.parametrize(
    ("converter", "ok", "logged"),
    [
        (sealing(), True, "encoded as binary/sealed, and decoded"),
        (DataConverter(), True, "encoded as json/plain, and decoded"),
        (sealing(codec(fail(KeyError(SECRET)))), False, "KeyError in the data converter, decoding"),
        (sealing(codec(lambda: [plain({"message": "x"})])), False, "decodes something else than"),
        (sealing(codec(fail(asyncio.CancelledError()))), False, "CancelledError"),
        (sealing(codec(fail(SystemExit()))), False, "SystemExit in the data converter, decoding"),
    ],
)
async def test_a_sample(
    decoders: Decoders, converter: DataConverter, ok: bool, logged: str
) -> None:
    decoders.append(ConverterDecoder(converter))

    sample = await try_sample(decoders[-1], "ns", 5)

    assert sample.ok is ok
    assert logged in sample.text


async def test_a_sample_that_cannot_be_encoded(decoders: Decoders) -> None:
    class Unable(Sealed):
        async def encode(self, payloads: Sequence[Payload]) -> list[Payload]:
            raise KeyError(SECRET)

    decoders.append(ConverterDecoder(sealing(Unable())))

    sample = await try_sample(decoders[-1], "ns", 5)

    assert sample.text == "KeyError in the data converter, encoding"


async def test_what_was_never_used_can_be_closed_and_leaves_no_thread() -> None:
    before = set(threading.enumerate())

    await ConverterDecoder(sealing()).close()

    assert set(threading.enumerate()) == before


async def test_what_still_runs_is_cancelled_when_everything_is_closed() -> None:
    hung = asyncio.Event()
    ended = threading.Event()
    here = asyncio.get_running_loop()

    async def hang() -> list[Payload]:
        here.call_soon_threadsafe(hung.set)
        try:
            await asyncio.Event().wait()
        finally:
            ended.set()
        raise AssertionError

    decoder = ConverterDecoder(sealing(Codec(hang)))
    asking = asyncio.create_task(decoder.decode(encoded_attributes(refused()), "ns", "wf"))
    await hung.wait()
    await decoder.close()

    with pytest.raises(asyncio.CancelledError):
        await asking
    assert ended.wait(30)
    assert not asking.cancelling()
