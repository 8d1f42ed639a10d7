"""Minutes of random kills of both servers and of the loop's replicas: `make test-soak`.

The replicas' clocks change, too, visibility is late, down or silent, and a trigger rejects some of
the writes.
RECONCILER_TEST_SOAK_SECONDS sets the duration (180), RECONCILER_TEST_SOAK_SEED the faults (4).
"""

from __future__ import annotations

import asyncio
import os
import random
from collections import Counter
from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path
from uuid import uuid4

import asyncpg
import pytest
from temporalio.client import Client
from temporalio.worker import Worker

from reconciler.core.model import Closed, Open
from reconciler.postgres.migrate.upgrade import migrate
from reconciler.postgres.table.names import TableMapping
from reconciler.temporal.client.rate_limiter import RateLimiter
from reconciler.temporal.client.rpc import Rpc
from reconciler.temporal.client.runtime import quiet_runtime
from reconciler.temporal.observe.probe import TemporalProbe
from tests.soak.application import OWN_MARK, Application
from tests.soak.chaos import Chaos, Replica
from tests.soak.triggers import CAUSE, INSTALL, is_rejected
from tests.support.commands.command import Command
from tests.support.commands.host_clock import host_clock, needs_faketime
from tests.support.network.visibility import visibility
from tests.support.passes.truth import as_row, assert_finished, assert_untouched, by_row
from tests.support.polling import eventually
from tests.support.servers.dynamic_config import DYNAMIC_CONFIG
from tests.support.servers.restartable import restartable_postgres, restartable_temporal
from tests.support.temporal.workflows import Scripted, charge

SECONDS = float(os.environ.get("RECONCILER_TEST_SOAK_SECONDS", "180"))
SEED = int(os.environ.get("RECONCILER_TEST_SOAK_SEED", "4"))
REPLICAS = 2
#: Seconds after the last fault within which every row must be right. The trigger rejects one write
#: in twenty at random, and the feed tries such a row again after a minute at the most.
SETTLE_TIME = 300.0


@pytest.mark.soak
@needs_faketime
@pytest.mark.timeout(SECONDS + 600)
async def test_every_row_is_right_in_the_end(tmp_path: Path) -> None:
    async with (
        restartable_postgres() as postgres,
        restartable_temporal(dynamic_config=DYNAMIC_CONFIG) as temporal,
        visibility(temporal.address) as seen,
    ):
        await migrate(postgres.url, TableMapping())
        await execute(postgres.url, INSTALL)
        client = await Client.connect(temporal.address, runtime=quiet_runtime())
        environment = {"DATABASE_URL": postgres.url, "TEMPORAL_ADDRESS": seen.address}
        command = Command(environment, tmp_path, fresh=True)
        clocks = [host_clock(tmp_path, name=f"clock {number}") for number in range(REPLICAS)]
        replicas = [Replica(clock.on(command), clock) for clock in clocks]
        chaos = Chaos(postgres, temporal, seen, replicas, random.Random(SEED))
        queue = f"soak-{uuid4()}"
        application = Application(postgres.url, client, queue, random.Random(SEED))
        worker = Worker(
            client,
            task_queue=queue,
            workflows=[Scripted],
            activities=[charge],
            graceful_shutdown_timeout=timedelta(seconds=1),
        )
        running = [asyncio.create_task(replica.run()) for replica in replicas]
        async with worker:
            traffic = asyncio.create_task(application.run())
            try:
                await chaos.run(SECONDS)
                assert not traffic.done(), traffic
            finally:
                traffic.cancel()
                await asyncio.wait([traffic])
            truth = TemporalProbe(Rpc(client, RateLimiter(0)))
            try:
                await eventually(lambda: settled(postgres.url, truth), SETTLE_TIME)
            except TimeoutError:
                pytest.fail(f"still running: {await unfinished(postgres.url, truth)}")
            finally:
                for task in running:
                    task.cancel()
                await asyncio.wait(running)
        counts = await verify(postgres.url, truth)
        last = await command("once", "--json")
        assert (last.code, last.json["unknown"]) == (3, counts["rejected"]), last.err
        assert CAUSE in last.err
        print_report(chaos, counts)


async def fetch(url: str, sql: str) -> Sequence[asyncpg.Record]:
    connection = await asyncpg.connect(url)
    try:
        return list(await connection.fetch(sql))
    finally:
        await connection.close()


async def execute(url: str, sql: str) -> None:
    connection = await asyncpg.connect(url)
    try:
        await connection.execute(sql)
    finally:
        await connection.close()


async def settled(url: str, truth: TemporalProbe) -> bool:
    """Whether every running row has an open workflow, or is one that the trigger protects."""
    left = await unfinished(url, truth)
    await asyncio.sleep(0.5)
    return not left


async def unfinished(url: str, truth: TemporalProbe) -> list[asyncpg.Record]:
    """The running rows that should have been written, so far."""
    rows = await fetch(url, "SELECT * FROM workflow_executions WHERE status = 'running'")
    return [
        row
        for row in rows
        if not is_rejected(row["id"]) and not isinstance(await truth.observe(as_row(row)), Open)
    ]


async def verify(url: str, truth: TemporalProbe) -> Counter[str]:
    """Check every row against Temporal, and the journal against every row; count the results."""
    rows = await fetch(url, "SELECT * FROM workflow_executions ORDER BY id")
    changes = await fetch(url, "SELECT * FROM reconciler.changes")
    journal = by_row(changes)
    counts: Counter[str] = Counter()
    for row in rows:
        observed = await truth.observe(as_row(row))
        if row["error_message"] == OWN_MARK:
            assert row["id"] not in journal, "a row that was no longer running was overwritten"
            counts["written by the application"] += 1
        elif isinstance(observed, Closed) and is_rejected(row["id"]):
            assert_untouched(row, journal)
            counts["rejected"] += 1
        elif isinstance(observed, Closed):
            assert_finished(row, observed, journal)
            counts[f"written as {observed.status.value}"] += 1
        else:
            assert_untouched(row, journal)
            counts["open"] += 1
    counts += Counter(f"found by {change['found_by']}" for change in changes)
    outcomes = await fetch(
        url,
        "SELECT coalesce(outcome, 'killed') AS outcome, count(*) FROM reconciler.passes GROUP BY 1",
    )
    return counts + Counter({f"passes {each['outcome']}": each["count"] for each in outcomes})


def print_report(chaos: Chaos, counts: Counter[str]) -> None:
    """Print the figures; fail unless there was something to survive."""
    codes: Counter[int] = sum((replica.codes for replica in chaos.replicas), Counter())
    peak = max(replica.peak_rss for replica in chaos.replicas) / 1e6
    bugs = [
        line
        for replica in chaos.replicas
        for line in replica.lines
        if "bug" in str(line["event"]) or "Traceback" in str(line["event"])
    ]
    print(f"\n{SECONDS:.0f} s, seed {SEED}")
    for name, count in sorted((chaos.faults + counts).items()):
        print(f"  {name:30} {count}")
    print(f"  {'exit codes':30} {dict(codes)}")
    print(f"  {'slowest stop':30} {chaos.slowest_stop:.1f} s")
    print(f"  {'largest resident memory':30} {peak:.0f} MB")
    assert bugs == []
    assert chaos.slowest_stop < 10
    assert set(codes) <= {0, -9}, "it ended without being stopped or killed"
    assert counts["written as COMPLETED"], "there was no traffic"
    assert counts["found by feed"], "the feed found nothing"
    assert counts["rejected"], "the trigger rejected nothing"
