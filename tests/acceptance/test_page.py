"""The page of `reconciler run`, as a browser gets it: over HTTP, from real servers."""

from __future__ import annotations

import re
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from html import unescape
from pathlib import Path
from urllib.parse import quote, urlsplit

import httpx
import pytest

from tests.conftest import Database
from tests.support.commands.command import Command
from tests.support.commands.daemon import HURRIED, SHORT_LEASE, Daemon, daemon
from tests.support.network.proxy import proxy
from tests.support.polling import eventually
from tests.support.servers.lending import administer
from tests.support.servers.ports import free_port
from tests.support.temporal.world import World

#: The holder as the page names it.
HERE = f"{socket.gethostname()}/"


def text_of(answer: httpx.Response) -> str:
    """What a reader sees, in one line."""
    body = re.sub(r"<(script|style|svg)\b.*?</\1>", " ", answer.text, flags=re.DOTALL)
    return re.sub(r"\s+", " ", unescape(re.sub(r"<[^>]*>", " ", body)))


async def shows(running: Daemon, *wanted: str, path: str = "/") -> str:
    """Wait until the page shows all of this; returns its text. It always answers with 200."""
    text = ""

    async def is_shown() -> bool:
        nonlocal text
        answer = await running.get(path)
        assert answer.status_code == 200
        text = text_of(answer)
        return all(each in text for each in wanted)

    try:
        await eventually(is_shown)
    except TimeoutError as error:
        raise AssertionError(text) from error
    return text


async def closed_row(database: Database, world: World) -> None:
    row = await world.ended(await world.start("fail", "no money"))
    await database.insert(world.workflow_id, row.run_id)


#: The feed might be so quick that a row does not count as missed; and each row is described.
PASSES_ONLY = {"RECONCILER_FEED_INTERVAL": "0", "RECONCILER_FULL_SWEEP_INTERVAL": "0"}


async def test_a_real_run_answers_the_questions(
    reconciler: Command, database: Database, world: World
) -> None:
    await closed_row(database, world)
    retries = await world.start("retry an activity", "quota of 50", id=f"{world.workflow_id}/2")
    await database.insert(retries.id, retries.first_execution_run_id)
    an_hour_ago = datetime.now(UTC) - timedelta(hours=1)
    await database.insert("never-started", created_at=an_hour_ago)
    async with daemon(reconciler, **PASSES_ONLY) as running:
        page = await shows(
            running,
            *("Working", "1 row in the last 24 hours", "Scripted"),
            *("ActivityRetrying", "never-started"),
        )
        row = text_of(await running.get(f"/rows/{quote(world.workflow_id)}"))
        passes = text_of(await running.get("/passes"))
        (written,) = await database.fetch("SELECT pass_id FROM reconciler.changes")
        one = text_of(await running.get(f"/passes/{written['pass_id']}"))
        hostile = await running.get(f"/rows/{quote('<script>alert(1)</script>')}")

    await retries.terminate()

    assert "RECONCILER_FEED_INTERVAL is 0" in page
    assert "charge: PaymentDeclined: quota of 50 (attempt" in page, "of one row, all of it"
    assert "1 never started" in page
    assert HERE in page
    assert "OrderFailed: no money" in page
    assert "FAILED at" in row
    assert "running → failed" in row
    assert str(written["pass_id"])[:8] in passes
    assert f"reconciler undo {written['pass_id']}" in one
    assert hostile.status_code == 404
    assert "<script>alert" not in hostile.text
    assert "<script>alert(1)</script>" in text_of(hostile)


@asynccontextmanager
async def refusing(postgres_url: str, database: Database) -> AsyncIterator[None]:
    """PostgreSQL ends the connections to this database, and accepts none."""
    name = urlsplit(database.url).path.strip("/")
    await administer(postgres_url, f"ALTER DATABASE {name} ALLOW_CONNECTIONS false")
    await administer(
        postgres_url,
        f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{name}'",
    )
    try:
        yield
    finally:
        await administer(postgres_url, f"ALTER DATABASE {name} ALLOW_CONNECTIONS true")


async def test_a_database_that_is_unreachable_leaves_what_was_known(
    reconciler: Command, postgres_url: str, database: Database, world: World
) -> None:
    await closed_row(database, world)
    hurried = replace(reconciler, limits=HURRIED)
    async with daemon(hurried) as running:
        await shows(running, "1 row in the last 24 hours")
        async with refusing(postgres_url, database):
            page = await shows(running, "PostgreSQL could not be read", "Running, but failing")
            row = await running.get(f"/rows/{quote(world.workflow_id)}")
        await shows(running, "Working")

    assert "1 row in the last 24 hours" in page
    assert "OrderFailed: no money" in page
    assert page.count("could not be read") == 1, "the cause, not each of its effects"
    assert row.status_code == 200
    assert "not currently accepting connections" in text_of(row)


async def test_a_temporal_that_is_unreachable_leaves_what_the_database_says(
    reconciler: Command, database: Database, world: World, temporal_address: str
) -> None:
    await closed_row(database, world)
    host, _, port = temporal_address.partition(":")
    async with proxy(host, int(port)) as network:
        environment = {**reconciler.environment, "TEMPORAL_ADDRESS": f"127.0.0.1:{network.port}"}
        through = replace(reconciler, environment=environment, limits=HURRIED)
        async with daemon(through) as running:
            await shows(running, "1 row in the last 24 hours")
            network.refuse()
            page = await shows(running, "Temporal could not be read", "Running, but failing")
            row = await shows(running, "Temporal", path=f"/rows/{quote(world.workflow_id)}")
            network.heal()
            await shows(running, "Working")

    assert "1 row in the last 24 hours" in page
    assert "running → failed" in row, "the journal is shown all the same"


async def test_a_start_shows_which_server_it_waits_for_and_no_secret(tmp_path: Path) -> None:
    port = free_port()
    given = {
        "DATABASE_URL": f"postgresql://app:s3cret@127.0.0.1:{port}/shop?sslpassword=s3cret",
        "TEMPORAL_ADDRESS": f"127.0.0.1:{port}",
        "TEMPORAL_API_KEY": "s3cret",
        "TEMPORAL_GRPC_META_TOKEN": "s3cret",
        "RECONCILER_CODEC_ENDPOINT": "http://127.0.0.1:9/codec",
        "RECONCILER_CODEC_HEADERS": "Authorization: s3cret",
    }
    async with daemon(Command(given, tmp_path, limits=HURRIED)) as running:
        text = await shows(running, f"waiting for PostgreSQL at 127.0.0.1:{port}/shop", "Starting")
        pages = ["/", "/rows/order-1", "/passes", "/passes/00000000-0000-0000-0000-000000000000"]
        answers = [await running.get(path) for path in pages]

    assert "does not answer" in text
    assert [answer.status_code for answer in answers] == [200, 200, 200, 503]
    assert all("Starting: waiting for PostgreSQL" in text_of(each) for each in answers[1:])
    assert not any("s3cret" in answer.text for answer in answers)


async def test_a_standby_shows_the_same_and_who_holds_the_lease(
    reconciler: Command, database: Database, world: World
) -> None:
    await closed_row(database, world)
    replica = replace(reconciler, limits=SHORT_LEASE)
    async with daemon(replica) as holder:
        await shows(holder, "1 row in the last 24 hours")
        async with daemon(replica) as standby:
            page = await shows(standby, "On standby", "1 row in the last 24 hours")

    assert f"{HERE}{holder.process.pid}/" in page
    assert "this replica: standby" in page


@pytest.mark.parametrize("setting", ["off", "closed"])
async def test_a_page_that_nobody_may_see(reconciler: Command, setting: str) -> None:
    settings = {"off": ("RECONCILER_PAGE", "off"), "closed": ("RECONCILER_HTTP_HOST", "0.0.0.0")}
    async with daemon(reconciler, **dict([settings[setting]])) as running:
        await eventually(running.ready)
        page, live = await running.get("/"), await running.get("/livez")

    assert page.status_code == {"off": 404, "closed": 403}[setting]
    assert live.status_code == 200
