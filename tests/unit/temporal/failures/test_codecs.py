"""Misbehaving codecs of a data converter."""

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

from reconciler.temporal.failures.codec import try_sample
from reconciler.temporal.failures.data_converter import DataConverterCodec
from reconciler.temporal.failures.encoded_attributes import encoded_attributes
from reconciler.temporal.failures.failure_decoder import FailureDecoder
from reconciler.temporal.failures.text import describe_failure
from tests.support.network.codecs import Sealed, sealing
from tests.support.polling import eventually
from tests.support.temporal.failures import in_activity, reasons, refused, sealed

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
    """Not an `Exception`."""


def fail(error: BaseException) -> Callable[[], Any]:
    def do() -> Any:
        raise error

    return do


@pytest.fixture
async def codecs() -> AsyncIterator[list[DataConverterCodec]]:
    """Codecs to be closed after the test."""
    made: list[DataConverterCodec] = []
    yield made
    for each in made:
        await each.close()


Codecs = list[DataConverterCodec]


async def _is(what: list[str]) -> bool:
    return bool(what)


async def text(
    codecs: Codecs, converter: DataConverter, key: str = "right", seconds: float = 5
) -> tuple[str, str]:
    """The text of a sealed failure, and why it could not be decoded."""
    codecs.append(DataConverterCodec(converter))
    decoder = FailureDecoder(codecs[-1], seconds)
    failure = await sealed(in_activity(refused()), sealing(Sealed(key)))
    described = describe_failure(await decoder.decode(failure, "ns", "wf"))
    return described, reasons(decoder)


async def test_the_right_key(codecs: Codecs) -> None:
    assert await text(codecs, sealing()) == ("activity charge failed: Refused: no money", "")


async def test_with_a_wrong_key_names_and_types_remain(codecs: Codecs) -> None:
    assert await text(codecs, sealing(), key="another") == (
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
        pytest.param(fail(Odd(SECRET)), "Odd in the data converter", id="raises no Exception"),
        pytest.param(fail(RecursionError()), "RecursionError in", id="recurses"),
        pytest.param(fail(MemoryError()), "MemoryError in", id="out of memory"),
        pytest.param(
            fail(BaseExceptionGroup("", [Odd()])), "BaseExceptionGroup in", id="raises several"
        ),
        pytest.param(fail(TimeoutError()), "TimeoutError in the data", id="times out"),
        pytest.param(list, "the data converter does not decode it", id="no payloads"),
        pytest.param(lambda: [plain({"message": "a"})] * 2, "not decode it", id="one too many"),
        pytest.param(lambda: None, "TypeError in", id="None"),
        pytest.param(lambda: ["text"], "AttributeError in", id="no payload"),
        pytest.param(lambda: [plain("text")], "does not decode it to", id="no attributes"),
        pytest.param(lambda: [plain({"message": None})], "does not decode it", id="no message"),
        pytest.param(
            lambda: [Payload(metadata={"encoding": b"json/plain"}, data=b"{")],
            "in the data converter, decoding",
            id="garbage",
        ),
        pytest.param(lambda: [Payload(data=b"x")], "KeyError in", id="of an unknown encoding"),
    ],
)
async def test_a_misbehaving_codec_costs_only_the_text(
    codecs: Codecs, do: Callable[[], Any], why: str
) -> None:
    described, logged = await text(codecs, sealing(codec(do)))

    assert described == "activity charge failed: Refused: Encoded failure"
    assert re.search(why, logged)
    assert SECRET not in logged


async def test_a_codec_that_hangs_is_cancelled(codecs: Codecs) -> None:
    begun: list[str] = []
    ended: list[str] = []

    async def hang() -> list[Payload]:
        begun.append("once")
        try:
            await asyncio.Event().wait()
        finally:
            ended.append("once")
        raise AssertionError

    codecs.append(DataConverterCodec(sealing(Codec(hang))))
    chain = encoded_attributes(in_activity(refused()))
    asking = asyncio.create_task(codecs[-1].decode(chain, "ns", "wf"))
    await eventually(lambda: _is(begun))
    asking.cancel()
    await eventually(lambda: _is(ended))
    with pytest.raises(asyncio.CancelledError):
        await asking
    await codecs[-1].close()
    assert begun == ended == ["once"], "the rest of the chain was tried too"


async def test_a_codec_that_ends_its_event_loop_gets_another(codecs: Codecs) -> None:
    """The tasks that wait for it are not cancelled."""
    loops: list[asyncio.AbstractEventLoop] = []

    async def end_once() -> list[Payload]:
        loops.append(asyncio.get_running_loop())
        if len(loops) == 1:
            ending = loops[0].create_task(end())
            await asyncio.wait([ending])
        return [plain({"message": "clear"})]

    async def end() -> None:
        sys.exit()

    codecs.append(DataConverterCodec(sealing(Codec(end_once))))
    decoder = FailureDecoder(codecs[-1], 5)
    failure = await sealed(refused(), sealing())

    assert await decoder.decode(failure, "ns", "wf") == failure
    await eventually(lambda: _is(["closed" for loop in loops if loop.is_closed()]))
    await codecs[-1].close()
    described = describe_failure(await decoder.decode(failure, "ns", "wf"))
    assert described == "Refused: clear"


async def test_a_codec_that_blocks_its_thread_does_not_block_the_event_loop(codecs: Codecs) -> None:
    free = threading.Event()

    def block() -> list[Payload]:
        free.wait(30)
        return [plain({"message": "late"})]

    try:
        described, why = await text(codecs, sealing(codec(block)), seconds=0.01)
    finally:
        free.set()

    assert (described, why) == (
        "activity charge failed: Refused: Encoded failure",
        "no answer within 0.01 s",
    )


async def test_closing_does_not_wait_for_a_codec_that_blocks() -> None:
    free = threading.Event()
    blocking = DataConverterCodec(sealing(codec(lambda: [free.wait(30)])))
    try:
        sample = await try_sample(blocking, "ns", 0.01)
        await blocking.close()
        assert all(each.daemon for each in threading.enumerate() if each.name == "codec")
    finally:
        free.set()

    assert sample.text == "no answer within 0.01 s"


async def test_a_codec_always_runs_on_the_same_loop(codecs: Codecs) -> None:
    """Its clients may be bound to the loop that first used them."""
    loops = []

    async def record() -> list[Payload]:
        loops.append(asyncio.get_running_loop())
        return [plain({"message": "x"})]

    codecs.append(DataConverterCodec(sealing(Codec(record))))
    for _ in range(2):
        await codecs[-1].decode(encoded_attributes(refused()), "ns", "wf")

    assert len(set(loops)) == 1
    assert loops[0] is not asyncio.get_running_loop()


class PerWorkflow(Sealed, WithSerializationContext):
    """A codec with a key for each workflow."""

    def with_context(self, context: SerializationContext) -> PerWorkflow:
        assert isinstance(context, WorkflowSerializationContext)
        return PerWorkflow(f"{context.namespace}/{context.workflow_id}")


async def test_a_codec_with_a_key_per_workflow(codecs: Codecs) -> None:
    described, _ = await text(codecs, sealing(PerWorkflow()), key="ns/wf")

    assert described == "activity charge failed: Refused: no money"


class Wrapping(JSONPlainPayloadConverter):
    """A team's own payload converter."""

    def from_payload(self, payload: Payload, type_hint: type | None = None) -> Any:
        return json.loads(payload.data) | {"message": "its own"}


async def test_a_team_may_have_its_own_payload_converter(codecs: Codecs) -> None:
    class Own(CompositePayloadConverter):
        def __init__(self) -> None:
            super().__init__(Wrapping())

    converter = dataclasses.replace(sealing(), payload_converter_class=Own)

    assert await text(codecs, converter) == ("activity charge failed: Refused: its own", "")


@pytest.mark.parametrize(
    ("converter", "ok", "logged"),
    [
        (sealing(), True, "encoded as binary/sealed, and decoded"),
        (DataConverter(), True, "encoded as json/plain, and decoded"),
        (sealing(codec(fail(KeyError(SECRET)))), False, "KeyError in the data converter, decoding"),
        (sealing(codec(lambda: [plain({"message": "x"})])), False, "does not decode what"),
        (sealing(codec(fail(asyncio.CancelledError()))), False, "CancelledError"),
        (sealing(codec(fail(SystemExit()))), False, "SystemExit in the data converter, decoding"),
    ],
)
async def test_a_sample(codecs: Codecs, converter: DataConverter, ok: bool, logged: str) -> None:
    codecs.append(DataConverterCodec(converter))

    sample = await try_sample(codecs[-1], "ns", 5)

    assert sample.ok is ok
    assert logged in sample.text


async def test_a_sample_that_cannot_be_encoded(codecs: Codecs) -> None:
    class Unable(Sealed):
        async def encode(self, payloads: Sequence[Payload]) -> list[Payload]:
            raise KeyError(SECRET)

    codecs.append(DataConverterCodec(sealing(Unable())))

    sample = await try_sample(codecs[-1], "ns", 5)

    assert sample.text == "KeyError in the data converter, encoding"


async def test_an_unused_codec_can_be_closed_and_leaves_no_thread() -> None:
    before = set(threading.enumerate())

    await DataConverterCodec(sealing()).close()

    assert set(threading.enumerate()) == before


async def test_closing_cancels_what_still_runs() -> None:
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

    hanging = DataConverterCodec(sealing(Codec(hang)))
    asking = asyncio.create_task(hanging.decode(encoded_attributes(refused()), "ns", "wf"))
    await hung.wait()
    await hanging.close()

    with pytest.raises(asyncio.CancelledError):
        await asking
    assert ended.wait(30)
    assert not asking.cancelling()
