"""uvicorn in the event loop of `run`, on a socket that is bound before it starts."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import socket
from collections.abc import AsyncIterator, Iterator
from functools import partial

import h11
import structlog
import uvicorn
from starlette.types import ASGIApp

from reconciler.core.errors import ConfigurationError
from reconciler.web.connections import (
    IDLE_TIME,
    Connection,
    Connections,
    Listener,
    connection_limit,
)

#: Connections that the kernel queues until they are accepted.
BACKLOG = 1024

log = structlog.get_logger(__name__)


@contextlib.asynccontextmanager
async def serving(web: ASGIApp, host: str, port: int) -> AsyncIterator[None]:
    """Serve while the context lasts. Raises `ConfigurationError` if binding fails."""
    listening = _bind(host, port)
    config = uvicorn.Config(
        web,
        http=Connection,
        ws="none",
        lifespan="off",
        log_config=None,
        log_level="error",
        access_log=False,
        server_header=False,
        timeout_keep_alive=2 * int(IDLE_TIME),  # connections end themselves before that
        timeout_graceful_shutdown=1,
    )
    logging.getLogger("uvicorn.error").addFilter(_is_worth_logging)
    config.load()
    server, connections = _Server(config), Connections(connection_limit())
    make = partial(Connection, connections, config, server.server_state, {})
    listener = Listener(listening, connections, make)
    task = asyncio.create_task(server.serve(sockets=[]))
    bound_host, bound_port = listening.getsockname()[:2]
    listener.open()
    log.info("http_listening", host=bound_host, port=bound_port)
    try:
        yield
    finally:
        listener.close()
        server.should_exit = True
        await task


def _bind(host: str, port: int) -> socket.socket:
    try:
        family, _, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        # :: means every address, as 0.0.0.0 does, so that 127.0.0.1 works too.
        both = address[0] == "::" and socket.has_dualstack_ipv6()
        listening = socket.create_server(
            address[:2], family=family, backlog=BACKLOG, dualstack_ipv6=both
        )
    except OSError as error:
        # The text of Python's error repeats the address.
        number = error.errno or 0
        reason = os.strerror(number) if number > 0 else error.strerror
        raise ConfigurationError(
            f"cannot listen on {host}, port {port} ({reason})",
            "set RECONCILER_HTTP_HOST and RECONCILER_HTTP_PORT",
        ) from None
    listening.settimeout(0)
    return listening


def _is_worth_logging(record: logging.LogRecord) -> bool:
    """Whether to log it; not the broken requests that any port scanner sends."""
    error = record.exc_info and record.exc_info[1]
    return not isinstance(error, h11.ProtocolError)


class _Server(uvicorn.Server):
    """Leaves signals to `run`."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield
