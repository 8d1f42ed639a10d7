"""The team's own data converter, by its import string, and decoding with it.

A codec may ask a key service in a way that blocks, which would stop passes, the lease and `/livez`.
So it runs in a thread with an event loop of its own, always the same one: its clients may be bound
to the loop that first used them. `asyncio.to_thread` would not do, because the process waits for
those threads when it ends.
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
from reconciler.temporal.failures.decoding import SAMPLE, Undecodable

SETTING = "RECONCILER_DATA_CONVERTER"
# By us, or by the codec itself: `Decoding` distinguishes them.
_CANCELLED = (asyncio.CancelledError, GeneratorExit)

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
        self._loop: asyncio.AbstractEventLoop | None = None
        self._closing = asyncio.Event()

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
        """Cancel what the codec still does, and end its thread, without waiting for either."""
        if self._loop is not None:
            with contextlib.suppress(RuntimeError):  # the codec has closed the loop itself
                self._loop.call_soon_threadsafe(self._closing.set)

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
        except _CANCELLED:
            raise
        except BaseException as error:  # noqa: BLE001 - the team's code may raise anything
            return Undecodable(f"{type(error).__name__} in the data converter, decoding")
        if message is None:
            return Undecodable("the data converter makes something else of it than a message")
        return message

    async def _encoded_and_decoded(self, namespace: str) -> str | Undecodable:
        try:
            converter = self._converter.with_context(
                WorkflowSerializationContext(namespace=namespace, workflow_id="reconciler-sample")
            )
            (payload,) = await converter.encode([SAMPLE])
        except _CANCELLED:
            raise
        except BaseException as error:  # noqa: BLE001 - the team's code may raise anything
            return Undecodable(f"{type(error).__name__} in the data converter, encoding")
        answer = await self._message(payload, namespace, "reconciler-sample")
        if isinstance(answer, str) and answer != SAMPLE["message"]:
            return Undecodable("the data converter decodes something else than it encoded")
        encoding = one_line(payload.metadata.get("encoding", b"?").decode(errors="replace"), 60)
        return answer if isinstance(answer, Undecodable) else f"encoded as {encoding}, and decoded"

    async def _in_thread(self, work: Coroutine[Any, Any, _T]) -> _T:
        """Run it on the codec's event loop; cancelled here, it is cancelled there."""
        if self._loop is None or self._loop.is_closed():  # by the codec
            self._loop, self._closing = asyncio.new_event_loop(), asyncio.Event()
            # A daemon: a codec that blocks must not keep the process from ending.
            arguments = self._loop, self._closing
            threading.Thread(target=_run, args=arguments, name="codec", daemon=True).start()
        return await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(work, self._loop))


def _run(loop: asyncio.AbstractEventLoop, until: asyncio.Event) -> None:
    # The codec may end the loop in any way; those who wait for it hear of that by their futures.
    with (
        contextlib.suppress(BaseException),
        asyncio.Runner(loop_factory=lambda: loop) as runner,
    ):
        runner.run(until.wait())
