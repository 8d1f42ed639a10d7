"""The port to a team's codec, which decodes encoded failures, and a test of it with a sample."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from temporalio.api.common.v1 import Payload

#: What a codec is tested with.
SAMPLE = {"message": "a sample of the reconciler", "stack_trace": ""}


class Undecodable(Exception):
    """Something could not be decoded. The text is one line and quotes nothing of the payload."""

    def __init__(self, text: str, status: int | None = None) -> None:
        """`status`: what a codec server answered over HTTP, if that was the reason."""
        super().__init__(text)
        self.status = status


class CodecUnusable(Undecodable):
    """The codec could not be called or did not answer in time, whatever it was given."""


class Codec(Protocol):
    """A team's codec: its data converter, or its codec server."""

    async def decode(
        self, payloads: Sequence[Payload], namespace: str, workflow_id: str
    ) -> Sequence[str | Undecodable]:
        """The message in each of the payloads. Raises `Undecodable` if all fail."""
        ...

    async def sample(self, namespace: str) -> str:
        """Encode and decode a sample; returns what was done. Raises `Undecodable`."""
        ...

    async def close(self) -> None:
        """Release its resources."""
        ...


@dataclass(frozen=True, slots=True)
class Sample:
    """How a codec did with a sample."""

    ok: bool
    #: In one line.
    text: str


async def try_sample(codec: Codec, namespace: str, seconds: float) -> Sample:
    """Test a codec before it is needed. Does not raise the codec's errors."""
    try:
        async with asyncio.timeout(seconds):
            return Sample(ok=True, text=await codec.sample(namespace))
    except TimeoutError:
        return Sample(ok=False, text=f"no answer within {seconds:g} s")
    except BaseException as error:
        if is_ending(error):
            raise
        return Sample(ok=False, text=describe_error(error))


def is_ending(error: BaseException) -> bool:
    """Whether our task is being cancelled or the process ends, rather than the codec failing."""
    if isinstance(error, asyncio.CancelledError):
        task = asyncio.current_task()
        return task is not None and task.cancelling() > 0
    return isinstance(error, KeyboardInterrupt | SystemExit | GeneratorExit)


def describe_error(error: BaseException) -> str:
    """The error's text, but only the type of an unknown error: its text may hold a secret."""
    return str(error) if isinstance(error, Undecodable) else type(error).__name__
