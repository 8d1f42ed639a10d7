"""Writes docs/images: the page of `reconciler demo --keep`, with a day of sample repairs.

The image of several targets is of the views of the tests, which have one in each state.

Run by `make screenshots`. It takes three minutes, as a task without a worker is stuck after two.
Images are smaller if `pngquant` is installed.
"""

from __future__ import annotations

import asyncio
import re
import shutil
import subprocess
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Literal

import asyncpg
from playwright.async_api import Browser

from reconciler.core.stuck.condition import Reason
from tests.support.page import several
from tests.support.page.browser import launched
from tests.support.page.serving import served
from tests.support.page.tab import opened_tab
from tests.support.polling import eventually

IMAGES = Path(__file__).parents[3] / "docs" / "images"
SIZE = {"width": 1280, "height": 720}
#: Seconds for a workflow without a worker to be stuck.
PATIENCE = 300

#: The pass of the demo's story, and what it changed, again in each of the 23 hours before.
_EARLIER_PASS = """
INSERT INTO reconciler.passes SELECT (jsonb_populate_record(p, jsonb_build_object(
    'id', $1::uuid, 'started_at', started_at - interval '1 day'))).*
FROM reconciler.passes p WHERE mode = 'once'
"""
_EARLIER_CHANGES = """
INSERT INTO reconciler.changes OVERRIDING SYSTEM VALUE SELECT (jsonb_populate_record(c,
    jsonb_build_object('id', -id - 100 * hour - 10000 * n, 'pass_id', $1::uuid,
        'workflow_id', format('%s-%s-%s', workflow_id, hour, n), 'found_by', 'feed',
        'changed_at', changed_at - hour * interval '1 hour',
        'close_time', close_time - hour * interval '1 hour'))).*
FROM reconciler.changes c, generate_series(1, 23) hour, generate_series(1, 6) n
WHERE c.pass_id <> $1::uuid AND abs(hashint4((hour * 100 + id * 10 + n)::int)) % 10 < 2
"""


@asynccontextmanager
async def demo() -> AsyncIterator[tuple[str, asyncpg.Connection]]:
    """The demo with its loop: the page's URL, and a connection to its database."""
    program = Path(sys.executable).parent / "reconciler"
    process = await asyncio.create_subprocess_exec(program, "demo", "--keep", stdout=PIPE)
    try:
        page, database = await _addresses(process)
        connection = await asyncpg.connect(database)
        try:
            yield page, connection
        finally:
            await connection.close()
    finally:
        process.terminate()
        await process.communicate()


async def _addresses(process: Process) -> tuple[str, str]:
    assert process.stdout is not None
    printed = ""
    while not (database := re.search(r"DATABASE_URL='(.+)'", printed)):
        line = await process.stdout.readline()
        assert line, f"the demo has ended: {printed}"
        printed += line.decode()
    page = re.search(r"page +(\S+)", printed)
    assert page is not None
    return page[1], database[1]


async def add_history(connection: asyncpg.Connection) -> str:
    """Add a day of repairs, before the page is read; returns the pass of the story."""
    story: str = await connection.fetchval(
        "SELECT id::text FROM reconciler.passes WHERE mode = 'once'"
    )
    earlier = "00000000-0000-4000-8000-000000000000"
    await connection.execute(_EARLIER_PASS, earlier)
    await connection.execute(_EARLIER_CHANGES, earlier)
    return story


async def no_worker(connection: asyncpg.Connection) -> bool:
    """Whether what takes longest to be stuck is."""
    query = "SELECT count(*) FROM reconciler.stuck WHERE reason = $1"
    return bool(await connection.fetchval(query, Reason.NO_WORKER.value))


async def shoot(
    browser: Browser, url: str, name: str, scheme: Literal["light", "dark"] = "light"
) -> None:
    """Write the image of a page as it is seen at first, or longer if it is."""
    async with opened_tab(browser, url, viewport=SIZE, color_scheme=scheme) as tab:
        path = IMAGES / f"{name}.png"
        await tab.page.screenshot(path=path, full_page=True)
    if quantizer := shutil.which("pngquant"):
        subprocess.run([quantizer, "--force", "--output", path, "--", path], check=True)


async def shoot_targets(browser: Browser) -> None:
    """Write the image of several targets."""
    async with served(several.sources(several.few())) as site:
        await shoot(browser, site.url, "targets")


async def main() -> None:
    """Write all images."""
    IMAGES.mkdir(exist_ok=True)
    async with launched() as browser:
        await shoot_targets(browser)
    async with demo() as (page, connection), launched() as browser:
        story = await add_history(connection)
        await eventually(lambda: no_worker(connection), PATIENCE)
        await shoot(browser, page, "overview")
        await shoot(browser, page, "overview-dark", "dark")
        await shoot(browser, f"{page}rows/tenant-umbrella", "row")
        await shoot(browser, f"{page}passes/{story}", "pass")


if __name__ == "__main__":
    asyncio.run(main())
