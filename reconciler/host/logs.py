"""Logs by structlog, on stderr; the lines of libraries look the same.

Every event is one line of printable text, whatever its values hold, and logging never raises.
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

#: Characters that require quotes around a value.
_QUOTED = frozenset(" \t\r\n=\"'")


def configure_logs(level: str, *, as_json: bool) -> None:
    """Log everything at `level` or above to stderr; stdout is for the result of the command."""
    shared: list[Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    final = _Safely(_json() if as_json else _console())
    stderr = cast("TextIO", Stderr())
    # Not through the standard library's logging, which would double the cost of a line, and a pass
    # logs one for each row that it finishes.
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
    # The migration commands print what they did, and the loop logs when a pass is late.
    logging.getLogger("alembic").setLevel(logging.WARNING)
    # httpx logs each URL; that of a codec server may hold a secret.
    logging.getLogger("httpx").setLevel(logging.WARNING)
    logging.getLogger("httpcore").setLevel(logging.WARNING)
    logging.getLogger("apscheduler").setLevel(logging.ERROR)


def _json() -> list[Processor]:
    # ASCII JSON escapes everything that `visible` escapes.
    return [structlog.processors.format_exc_info, structlog.processors.JSONRenderer()]


def _console() -> list[Processor]:
    renderer = structlog.dev.ConsoleRenderer(
        colors=sys.stderr is not None and sys.stderr.isatty(),
        sort_keys=False,
        pad_event_to=0,
        exception_formatter=_traceback,
    )
    return [_legible, renderer]


class _Safely:
    """The last steps to a line. If they fail, the line says so."""

    def __init__(self, steps: Sequence[Processor]) -> None:
        self._steps = steps

    def __call__(self, logger: WrappedLogger, name: str, event: EventDict) -> Any:
        known = {key: event[key] for key in ("timestamp", "level") if key in event}
        try:
            return self._line(logger, name, event)
        except Exception as error:  # noqa: BLE001 - the repr of a value may raise anything
            why = {"event": "a log line could not be made", "error": type(error).__name__}
            return self._line(logger, name, {**known, **why})

    def _line(self, logger: WrappedLogger, name: str, event: Any) -> Any:
        for step in self._steps:
            event = step(logger, name, event)
        return event


class _Unquoted:
    """A value that is printed as this text."""

    def __init__(self, text: str) -> None:
        self._text = text

    def __repr__(self) -> str:
        return self._text


def _legible(_: WrappedLogger, __: str, event: EventDict) -> EventDict:
    """Every part of a line as printable text, without control characters."""
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
        return _Unquoted(visible(value))
    return _Unquoted(visible(repr(value)))


def _traceback(line: TextIO, error: ExcInfo) -> None:
    # The default also prints local variables, and secrets among them.
    plain = StringIO()
    structlog.dev.plain_traceback(plain, error)
    line.write("\n" + _indented(plain.getvalue().strip("\n")))


def _indented(text: str) -> str:
    """Indented, so that no message of an error can forge a log line."""
    return "\n".join(f"    {visible(line)}" for line in text.split("\n"))
