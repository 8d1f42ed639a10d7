"""The team's own data converter, by its import string, and decoding with it.

A codec is somebody else's code, and may ask a key service in a way that blocks: it gets a thread
and an event loop of its own, so that it can hold up nothing but itself.
"""

from __future__ import annotations

import asyncio
import contextlib
import importlib
import inspect
import sys
import threading
import traceback
from collections.abc import Callable, Coroutine, Sequence
from functools import reduce
from pathlib import Path
from typing import Any, TypeVar

from temporalio.api.common.v1 import Payload
from temporalio.converter import DataConverter, WorkflowSerializationContext

from reconciler.core.errors import ConfigurationError
from reconciler.core.text import one_line
from reconciler.temporal.failures.attributes import message_in
from reconciler.temporal.failures.decoding import SAMPLE, CodecAway, Undecodable

SETTING = "RECONCILER_DATA_CONVERTER"
#: Seconds that a codec has to come to its end when everything is closed.
CLOSE_TIMEOUT = 1.0

_T = TypeVar("_T")


def load_converter(name: str) -> DataConverter:
    """The data converter at `module:attribute`, or what the function or class there makes.

    Modules of the current folder can be imported as well, after all that are installed. Raises
    `ConfigurationError`, in one line that never quotes what the team's code says: it knows keys.
    """
    module_name, _, path = name.partition(":")
    _append_current_folder()
    try:
        module = importlib.import_module(module_name)
    except KeyboardInterrupt:
        raise
    except BaseException as error:  # noqa: BLE001 - it runs the team's code
        # The name of a module is no secret; one that it imports itself may be what is missing.
        if isinstance(error, ModuleNotFoundError) and error.name:
            why = f"there is no module {error.name}: is it installed, or in PYTHONPATH?"
        else:
            why = f"importing {module_name} failed: {_type_and_place(error)}"
        raise _refused(name, why) from None
    try:
        found = reduce(getattr, path.split("."), module)
    except AttributeError:
        raise _refused(name, f"{module_name} has no {path}") from None
    if isinstance(found, DataConverter):
        return found
    return _made(name, path, found)


def _made(name: str, path: str, make: Any) -> DataConverter:
    if not callable(make):
        raise _refused(name, _not_one(path, make))
    if not _takes_nothing(make):
        raise _refused(name, f"{path} needs arguments, and gets none")
    try:
        made = make()
    except KeyboardInterrupt:
        raise
    except BaseException as error:  # noqa: BLE001 - it is the team's code
        raise _refused(name, f"calling {path}() failed: {_type_and_place(error)}") from None
    if inspect.iscoroutine(made):
        made.close()
    if not isinstance(made, DataConverter):
        raise _refused(name, _not_one(f"{path}()", made))
    return made


def _append_current_folder() -> None:
    """As with `python -m`, but last: no file here can stand in for what is installed."""
    with contextlib.suppress(OSError):  # there is none any more
        if (folder := str(Path.cwd())) not in sys.path:
            sys.path.append(folder)


def _takes_nothing(make: Callable[..., Any]) -> bool:
    try:
        inspect.signature(make).bind()
    except TypeError:
        return False
    except ValueError:  # it has no signature that could be read
        return True
    return True


def _not_one(path: str, found: object) -> str:
    kind = f"the class {found.__name__}" if isinstance(found, type) else type(found).__name__
    return f"{path} is {kind} and no temporalio.converter.DataConverter, nor does it make one"


def _refused(name: str, why: str) -> ConfigurationError:
    return ConfigurationError(f"{SETTING}: {why} (it is {name!r})")


def _type_and_place(error: BaseException) -> str:
    """What kind of error, and where it came from; not its text."""
    if isinstance(error, SyntaxError):
        return f"SyntaxError in {one_line(str(error.filename), 200)}, line {error.lineno}"
    frames = traceback.extract_tb(error.__traceback__)
    last = [frame for frame in frames if not frame.filename.startswith("<")][-1]  # "<frozen os>"
    return f"{type(error).__name__} in {one_line(last.filename, 200)}, line {last.lineno}"


class ConverterDecoder:
    """Decodes as a client with this data converter would, payload by payload."""

    def __init__(self, converter: DataConverter) -> None:
        self._converter = converter
        self._thread: _Thread | None = None

    async def decode(
        self, payloads: Sequence[Payload], namespace: str, workflow_id: str
    ) -> Sequence[str | Undecodable]:
        """The message in each of the payloads."""
        return await self._in_thread(self._messages(payloads, namespace, workflow_id))

    async def sample(self, namespace: str) -> str:
        """Encode and decode a sample. Raises `Undecodable`."""
        answer = await self._in_thread(self._encoded_and_decoded(namespace))
        if isinstance(answer, Undecodable):
            raise answer
        return answer

    async def close(self) -> None:
        """Let the codec's loop end, if it has ever begun."""
        thread, self._thread = self._thread, None
        if thread is not None:
            await thread.stop()

    async def _messages(
        self, payloads: Sequence[Payload], namespace: str, workflow_id: str
    ) -> Sequence[str | Undecodable]:
        return [await self._message(payload, namespace, workflow_id) for payload in payloads]

    async def _message(
        self, payload: Payload, namespace: str, workflow_id: str
    ) -> str | Undecodable:
        try:
            converter = self._converter.with_context(
                WorkflowSerializationContext(namespace=namespace, workflow_id=workflow_id)
            )
            values = await converter.decode([payload])
            message = message_in(values[0]) if len(values) == 1 else None
        except BaseException as error:  # noqa: BLE001 - code of others may raise anything
            return _whatever(error, "decoding")
        if message is None:
            return Undecodable("the data converter makes something else of it than a message")
        return message

    async def _encoded_and_decoded(self, namespace: str) -> str | Undecodable:
        try:
            converter = self._converter.with_context(
                WorkflowSerializationContext(namespace=namespace, workflow_id="reconciler-sample")
            )
            (payload,) = await converter.encode([SAMPLE])
        except BaseException as error:  # noqa: BLE001 - code of others may raise anything
            return _whatever(error, "encoding")
        answer = await self._message(payload, namespace, "reconciler-sample")
        if isinstance(answer, str) and answer != SAMPLE["message"]:
            return Undecodable("the data converter decodes something else than it encoded")
        encoding = one_line(payload.metadata.get("encoding", b"?").decode(errors="replace"), 60)
        return answer if isinstance(answer, Undecodable) else f"encoded as {encoding}, and decoded"

    async def _in_thread(self, work: Coroutine[Any, Any, _T]) -> _T:
        if self._thread is None or self._thread.has_ended:
            self._thread = _Thread()
        return await self._thread.run(work)


def _whatever(error: BaseException, doing: str) -> Undecodable:
    """What a codec raised: returned and not raised, above all a cancellation of its own.

    That would be taken for one of ours on the other side; ours is raised again.
    """
    if isinstance(error, GeneratorExit):  # nobody waits for it any more
        raise error
    task = asyncio.current_task()
    if isinstance(error, asyncio.CancelledError) and task is not None and task.cancelling():
        raise error
    return Undecodable(f"{type(error).__name__} in the data converter, {doing}")


class _Thread:
    """An event loop in a thread that nobody has to wait for."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._stopping = asyncio.Event()
        self._thread = threading.Thread(target=self._turn, name="data-converter", daemon=True)
        self._thread.start()

    @property
    def has_ended(self) -> bool:
        """Whether somebody's code has ended the loop, and with it the thread."""
        return not self._thread.is_alive()

    def _turn(self) -> None:
        # Code of others may end the loop in any way, which `run` reports to those who wait.
        with (
            contextlib.suppress(BaseException),
            asyncio.Runner(loop_factory=lambda: self._loop) as runner,
        ):
            runner.run(self._wait())

    async def _wait(self) -> None:
        await self._stopping.wait()

    async def run(self, work: Coroutine[Any, Any, _T]) -> _T:
        """Run it there; cancelled here, it is cancelled there."""
        try:
            there = asyncio.run_coroutine_threadsafe(work, self._loop)
        except RuntimeError:  # somebody's code has ended the loop
            work.close()
            raise CodecAway("the data converter has ended its event loop") from None
        try:
            return await asyncio.wrap_future(there)
        except asyncio.CancelledError:
            task = asyncio.current_task()
            if task is not None and task.cancelling():
                raise
            raise CodecAway("the data converter has ended its event loop") from None

    async def stop(self) -> None:
        """Cancel what runs there, and wait a moment for it; what blocks is left behind."""
        with contextlib.suppress(RuntimeError):  # it has ended by itself
            self._loop.call_soon_threadsafe(self._stopping.set)
        await asyncio.to_thread(self._thread.join, CLOSE_TIMEOUT)
