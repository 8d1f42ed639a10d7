"""uvicorn in the daemon's own loop, on a socket that was bound beforehand."""

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
from starlette.applications import Starlette

from reconciler.core.errors import ConfigurationError
from reconciler.web.connections import IDLE_TIME, Connection, Crowd, Door, connection_limit

#: Connections that the system keeps until they are accepted.
BACKLOG = 1024

log = structlog.get_logger(__name__)


@contextlib.asynccontextmanager
async def serving(web: Starlette, host: str, port: int) -> AsyncIterator[None]:
    """Serve while the context lasts. Raises `ConfigurationError` if the address cannot be had."""
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
    logging.getLogger("uvicorn.error").addFilter(_is_worth_a_line)
    config.load()
    server, crowd = _Server(config), Crowd(connection_limit())
    door = Door(listening, crowd, partial(Connection, crowd, config, server.server_state, {}))
    task = asyncio.create_task(server.serve(sockets=[]))
    bound_host, bound_port = listening.getsockname()[:2]
    door.open()
    log.info("http_listening", host=bound_host, port=bound_port)
    try:
        yield
    finally:
        door.close()
        server.should_exit = True
        await task


def _bind(host: str, port: int) -> socket.socket:
    try:
        family, _, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        # :: is everybody, as 0.0.0.0 is; a check from inside asks 127.0.0.1.
        everybody = address[0] == "::" and socket.has_dualstack_ipv6()
        listening = socket.create_server(
            address[:2], family=family, backlog=BACKLOG, dualstack_ipv6=everybody
        )
    except OSError as error:
        # asyncio's and Python's own words repeat the address.
        number = error.errno or 0
        reason = os.strerror(number) if number > 0 else error.strerror
        raise ConfigurationError(
            f"cannot listen on {host}, port {port} ({reason}): "
            "set RECONCILER_HTTP_HOST and RECONCILER_HTTP_PORT"
        ) from None
    listening.settimeout(0)
    return listening


def _is_worth_a_line(record: logging.LogRecord) -> bool:
    """Not what a scanner can bring about: requests that break off where the answer is due."""
    error = record.exc_info and record.exc_info[1]
    return not isinstance(error, h11.ProtocolError)


class _Server(uvicorn.Server):
    """Leaves the signals to the daemon."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield
