"""A team's own data converter, by its import string, as a codec.

A codec may block while it calls a key service, which would stop passes, the lease and `/livez`. So
it runs in a thread with its own event loop, always the same one: its clients may be bound to the
loop that first used them. `asyncio.to_thread` would not do, because the process waits for those
threads when it ends.
"""

from __future__ import annotations

import asyncio
import contextlib
import importlib
import inspect
import sys
import threading
import traceback
from collections.abc import Callable, Coroutine, Iterator, Sequence
from functools import reduce
from pathlib import Path
from typing import Any, TypeVar

from temporalio.api.common.v1 import Payload
from temporalio.converter import DataConverter, WorkflowSerializationContext

from reconciler.core.errors import ConfigurationError
from reconciler.core.text import one_line
from reconciler.temporal.failures.codec import SAMPLE, Undecodable
from reconciler.temporal.failures.encoded_attributes import message_in

SETTING = "RECONCILER_DATA_CONVERTER"
# By us, or by the codec itself: `is_ending` distinguishes them.
_CANCELLED = (asyncio.CancelledError, GeneratorExit)

_T = TypeVar("_T")


def load_converter(name: str) -> DataConverter:
    """The data converter at `module:attribute`, or the one that the function or class there makes.

    Modules of the current folder can be imported too, after all installed ones. Raises
    `ConfigurationError` in one line that never quotes the team's code, which knows keys.
    """
    module_name, _, path = name.partition(":")
    _append_current_folder()
    with _import_errors(name, f"importing {module_name}"):
        module = importlib.import_module(module_name)
    try:
        found: Any = reduce(getattr, path.split("."), module)
    except AttributeError:
        raise _refused(name, f"{module_name} has no {path}") from None
    if callable(found) and not isinstance(found, DataConverter):
        if not _takes_nothing(found):
            raise _refused(name, f"{path} needs arguments, and gets none")
        with _import_errors(name, f"calling {path}()"):
            found = found()
        path += "()"
    if inspect.iscoroutine(found):
        found.close()
    if not isinstance(found, DataConverter):
        kind = f"the class {found.__name__}" if isinstance(found, type) else type(found).__name__
        raise _refused(name, f"{path} is {kind}, not a temporalio.converter.DataConverter")
    return found


@contextlib.contextmanager
def _import_errors(name: str, doing: str) -> Iterator[None]:
    """Raise what the team's code raises as `ConfigurationError`, without its text."""
    try:
        yield
    except KeyboardInterrupt:
        raise
    except BaseException as error:  # noqa: BLE001 - it is the team's code
        why = f"{doing} failed: {_type_and_place(error)}"
        # A module's name is no secret, and the missing one may be one that the module imports.
        if isinstance(error, ModuleNotFoundError) and error.name:
            why = f"there is no module {error.name}: is it installed, or in PYTHONPATH?"
        raise _refused(name, why) from None


def _append_current_folder() -> None:
    """As `python -m` does, but last, so that no file here replaces an installed module."""
    with contextlib.suppress(OSError):  # it was deleted
        if (folder := str(Path.cwd())) not in sys.path:
            sys.path.append(folder)


def _takes_nothing(make: Callable[..., Any]) -> bool:
    try:
        inspect.signature(make).bind()
    except TypeError:
        return False
    except ValueError:  # its signature cannot be read
        pass
    return True


def _refused(name: str, why: str) -> ConfigurationError:
    return ConfigurationError(f"{SETTING}: {why} (it is {name!r})")


def _type_and_place(error: BaseException) -> str:
    """The error's type and where it was raised, without its text."""
    if isinstance(error, SyntaxError):
        return f"SyntaxError in {one_line(str(error.filename), 200)}, line {error.lineno}"
    frames = traceback.extract_tb(error.__traceback__)
    last = [frame for frame in frames if not frame.filename.startswith("<")][-1]  # "<frozen os>"
    return f"{type(error).__name__} in {one_line(last.filename, 200)}, line {last.lineno}"


class DataConverterCodec:
    """Decodes as a client with this data converter would, payload by payload."""

    def __init__(self, converter: DataConverter) -> None:
        self._converter = converter
        self._loop: asyncio.AbstractEventLoop | None = None
        self._closing = asyncio.Event()

    async def decode(
        self, payloads: Sequence[Payload], namespace: str, workflow_id: str
    ) -> Sequence[str | Undecodable]:
        """The message in each of the payloads."""
        return await self._in_thread(self._messages(payloads, namespace, workflow_id))

    async def sample(self, namespace: str) -> str:
        """Encode and decode a sample. Raises `Undecodable`."""
        return await self._in_thread(self._encode_and_decode(namespace, "reconciler-sample"))

    async def close(self) -> None:
        """Cancel what the codec is doing and end its thread, without waiting for either."""
        if self._loop is not None:
            with contextlib.suppress(RuntimeError):  # the codec has closed the loop itself
                self._loop.call_soon_threadsafe(self._closing.set)

    async def _messages(
        self, payloads: Sequence[Payload], namespace: str, workflow_id: str
    ) -> Sequence[str | Undecodable]:
        messages: list[str | Undecodable] = []
        for payload in payloads:
            try:
                messages.append(await self._message(payload, namespace, workflow_id))
            except Undecodable as error:
                messages.append(error)
        return messages

    async def _message(self, payload: Payload, namespace: str, workflow_id: str) -> str:
        with _converter_errors("decoding"):
            converter = self._in_context(namespace, workflow_id)
            values = await converter.decode([payload])
            message = message_in(values[0]) if len(values) == 1 else None
        if message is None:
            raise Undecodable("the data converter does not decode it to a message")
        return message

    async def _encode_and_decode(self, namespace: str, workflow_id: str) -> str:
        with _converter_errors("encoding"):
            (payload,) = await self._in_context(namespace, workflow_id).encode([SAMPLE])
        if await self._message(payload, namespace, workflow_id) != SAMPLE["message"]:
            raise Undecodable("the data converter does not decode what it encoded")
        encoding = one_line(payload.metadata.get("encoding", b"?").decode(errors="replace"), 60)
        return f"encoded as {encoding}, and decoded"

    def _in_context(self, namespace: str, workflow_id: str) -> DataConverter:
        context = WorkflowSerializationContext(namespace=namespace, workflow_id=workflow_id)
        return self._converter.with_context(context)

    async def _in_thread(self, work: Coroutine[Any, Any, _T]) -> _T:
        """Run it on the codec's event loop; cancelling this cancels it there."""
        if self._loop is None or self._loop.is_closed():  # by the codec
            self._loop, self._closing = asyncio.new_event_loop(), asyncio.Event()
            # A daemon thread: a codec that blocks must not keep the process from ending.
            arguments = self._loop, self._closing
            threading.Thread(target=_run, args=arguments, name="codec", daemon=True).start()
        return await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(work, self._loop))


@contextlib.contextmanager
def _converter_errors(doing: str) -> Iterator[None]:
    """Raise what the team's code raises as `Undecodable`, without its text."""
    try:
        yield
    except _CANCELLED:
        raise
    except BaseException as error:  # noqa: BLE001 - the team's code may raise anything
        raise Undecodable(f"{type(error).__name__} in the data converter, {doing}") from None


def _run(loop: asyncio.AbstractEventLoop, until: asyncio.Event) -> None:
    # The codec may end the loop in any way; callers learn of it through their futures.
    with (
        contextlib.suppress(BaseException),
        asyncio.Runner(loop_factory=lambda: loop) as runner,
    ):
        runner.run(until.wait())
