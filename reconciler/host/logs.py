"""Log lines: structlog, on stderr, our own lines and those of the libraries in the same shape.

Whatever a value holds, a line is one line and shows all of it; and no line ends a pass.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Sequence
from io import StringIO
from typing import Any, TextIO, cast

import structlog
from structlog.typing import EventDict, ExcInfo, Processor, WrappedLogger

from reconciler.core.text import visible
from reconciler.host.streams import Stderr

#: Characters after which a value is shown in quotes.
_QUOTED = frozenset(" \t\r\n=\"'")


def configure_logs(level: str, *, as_json: bool) -> None:
    """Send everything at `level` or above to stderr; stdout belongs to the command's result."""
    shared: list[Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    final = _Surely(_json() if as_json else _console())
    stderr = cast("TextIO", Stderr())
    # Ours do not go through the standard library's logging, which would cost as much again: a pass
    # writes a line for each row that it finishes.
    structlog.configure(
        processors=[*shared, final],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=structlog.PrintLoggerFactory(stderr),
    )
    handler = logging.StreamHandler(stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, final],
        )
    )
    logging.basicConfig(handlers=[handler], level=level.upper(), force=True)
    # The migration commands say themselves what they did, and the loop when a pass is late.
    logging.getLogger("alembic").setLevel(logging.WARNING)
    # It logs each URL; that of a codec server may hold a secret.
    logging.getLogger("httpx").setLevel(logging.WARNING)
    logging.getLogger("httpcore").setLevel(logging.WARNING)
    logging.getLogger("apscheduler").setLevel(logging.ERROR)


def _json() -> list[Processor]:
    # JSON in ASCII has an escape for everything that `visible` has one for.
    return [structlog.processors.format_exc_info, structlog.processors.JSONRenderer()]


def _console() -> list[Processor]:
    renderer = structlog.dev.ConsoleRenderer(
        colors=sys.stderr is not None and sys.stderr.isatty(),
        sort_keys=False,
        pad_event_to=0,
        exception_formatter=_traceback,
    )
    return [_legible, renderer]


class _Surely:
    """The last steps to a line; something is said even if they fail."""

    def __init__(self, steps: Sequence[Processor]) -> None:
        self._steps = steps

    def __call__(self, logger: WrappedLogger, name: str, event: EventDict) -> Any:
        known = {key: event[key] for key in ("timestamp", "level") if key in event}
        try:
            return self._line(logger, name, event)
        except Exception as error:  # noqa: BLE001 - whatever a value's own code raises
            why = {"event": "a log line could not be made", "error": type(error).__name__}
            return self._line(logger, name, {**known, **why})

    def _line(self, logger: WrappedLogger, name: str, event: Any) -> Any:
        for step in self._steps:
            event = step(logger, name, event)
        return event


class _Shown:
    """A value that is shown as this text."""

    def __init__(self, text: str) -> None:
        self._text = text

    def __repr__(self) -> str:
        return self._text


def _legible(_: WrappedLogger, __: str, event: EventDict) -> EventDict:
    """Every part of a line as text that a terminal can only show."""
    return {visible(key): _part(key, value) for key, value in event.items()}


def _part(key: str, value: Any) -> Any:
    match key:
        case "timestamp" | "level" | "exc_info":
            return value
        case "event":
            return visible(str(value))
        case "stack" | "exception":
            return _indented(str(value))
    if isinstance(value, str) and not _QUOTED & set(value):
        return _Shown(visible(value))
    return _Shown(visible(repr(value)))


def _traceback(line: TextIO, error: ExcInfo) -> None:
    # The default prints local variables too, and any secrets with them.
    plain = StringIO()
    structlog.dev.plain_traceback(plain, error)
    line.write("\n" + _indented(plain.getvalue().strip("\n")))


def _indented(text: str) -> str:
    """Lines that cannot be taken for others of the log, whatever an error's message holds."""
    return "\n".join(f"    {visible(line)}" for line in text.split("\n"))
