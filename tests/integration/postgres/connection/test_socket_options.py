"""What the URL says of time limits and keepalives, and who connects."""

from __future__ import annotations

import socket
from typing import Any

import pytest
import sqlalchemy as sa

from reconciler.core.errors import DatabaseUnusable
from reconciler.postgres.connection.engine import open_engine, translated, using_engine
from reconciler.settings.database_url import parse_database_url
from tests.conftest import Database
from tests.support.network.silent import silent_server
from tests.support.polling import deadline
from tests.support.servers.pooler import KINDS, pooler

_GIVEN = "keepalives_idle=31&keepalives_interval=7&keepalives_count=4&tcp_user_timeout=9000"


async def options_of(url: str) -> dict[str, int]:
    """The options of a connection's socket, by their names."""
    async with using_engine(parse_database_url(url)) as engine, engine.connect() as connection:
        driver: Any = (await connection.get_raw_connection()).driver_connection
        found = driver._transport.get_extra_info("socket")
        tcp = {
            name: found.getsockopt(socket.IPPROTO_TCP, getattr(socket, name))
            for name in ("TCP_KEEPIDLE", "TCP_KEEPINTVL", "TCP_KEEPCNT", "TCP_USER_TIMEOUT")
        }
        return tcp | {"on": found.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)}


@pytest.mark.parametrize("kind", KINDS)
async def test_keepalives_are_set_through_a_pooler_too(database: Database, kind: str) -> None:
    async with pooler(database.url, kind=kind) as here:
        found = await options_of(f"{here.url}?connect_timeout=20&{_GIVEN}")

    assert found == {
        "TCP_KEEPIDLE": 31,
        "TCP_KEEPINTVL": 7,
        "TCP_KEEPCNT": 4,
        "TCP_USER_TIMEOUT": 9000,
        "on": 1,
    }


async def test_keepalives_are_on_with_the_systems_defaults_unless_they_are_off(
    database: Database,
) -> None:
    async with pooler(database.url) as here:
        default = await options_of(here.url)
        off = await options_of(f"{here.url}?keepalives=0&keepalives_idle=31")

    assert default["on"] == 1
    assert off["on"] == 0
    assert off["TCP_KEEPIDLE"] == default["TCP_KEEPIDLE"] != 31


async def test_the_time_to_connect_is_the_urls() -> None:
    async with silent_server() as silent, deadline():
        engine = open_engine(f"postgresql://u@127.0.0.1:{silent.port}/db?connect_timeout=1")
        with pytest.raises(DatabaseUnusable, match="did not answer in time"), translated("read"):
            async with engine.connect():
                pass


@pytest.mark.parametrize(("query", "expected"), [("", "reconciler"), ("app", "app")])
async def test_the_name_of_the_client_is_the_urls(
    database: Database, query: str, expected: str
) -> None:
    mark = "&" if "?" in database.url else "?"
    url = database.url + (f"{mark}application_name={query}" if query else "")
    async with using_engine(url) as engine, engine.connect() as connection:
        assert await connection.scalar(sa.text("SHOW application_name")) == expected
