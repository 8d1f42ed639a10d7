"""What every `Lease` promises: that in PostgreSQL, and the null one."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from datetime import timedelta
from uuid import uuid4

import pytest

from reconciler.core.errors import Unusable
from reconciler.core.ports import Lease
from reconciler.postgres.connection.engine import using_engine
from reconciler.postgres.journal.bookkeeping import Bookkeeping
from tests.conftest import Database
from tests.support.polling import eventually

LONG, SHORT = timedelta(minutes=5), timedelta(milliseconds=1)


@dataclass(frozen=True)
class Bench:
    """One database, and as many replicas as a test asks for."""

    database: Database
    #: The difference: without it, every replica has the lease at all times, in its first epoch.
    exclusive: bool

    def replica(self) -> Lease:
        """Another replica's side of the lease."""
        books = Bookkeeping(self.database.engine, journal=self.exclusive)
        return books.lease("orders", "default", f"host/1/{uuid4()}")

    def epoch(self, epoch: int | None) -> int | None:
        """What a claim returns that is given this epoch, or None, if the lease is exclusive."""
        return epoch if self.exclusive else 1


@pytest.fixture(params=[True, False], ids=["exclusive", "shared"])
async def bench(request: pytest.FixtureRequest, database: Database) -> Bench:
    if not request.param:
        await database.execute("DROP SCHEMA reconciler CASCADE")
    return Bench(database, request.param)


async def test_the_first_to_claim_it_holds_it_and_can_renew_it(bench: Bench) -> None:
    first, second = bench.replica(), bench.replica()

    assert await first.claim(LONG) == 1
    assert await second.claim(LONG) == bench.epoch(None)
    assert await first.claim(LONG) == 1


async def test_one_of_many_concurrent_claims_gets_it(bench: Bench) -> None:
    epochs = await asyncio.gather(*(bench.replica().claim(LONG) for _ in range(12)))

    assert [epoch for epoch in epochs if epoch] == [1] * (1 if bench.exclusive else 12)


async def test_once_released_it_is_free_and_has_another_epoch(bench: Bench) -> None:
    first, second = bench.replica(), bench.replica()
    await first.claim(LONG)
    await first.release()

    assert await second.claim(LONG) == bench.epoch(2)
    assert await first.claim(LONG) == bench.epoch(None)


async def test_the_epoch_is_the_same_if_no_other_replica_had_it_in_between(bench: Bench) -> None:
    first = bench.replica()
    await first.claim(LONG)
    await first.release()

    assert await first.claim(LONG) == 1


async def test_once_expired_it_goes_to_the_next_claim(bench: Bench) -> None:
    first, second = bench.replica(), bench.replica()
    await first.claim(SHORT)

    async def taken() -> bool:
        return await second.claim(LONG) == bench.epoch(2)

    await eventually(taken)
    assert await first.claim(LONG) == bench.epoch(None)


async def test_once_expired_its_holder_may_still_renew_it(bench: Bench) -> None:
    first = bench.replica()
    await first.claim(SHORT)
    await bench.database.execute("SELECT pg_sleep(0.01)")

    assert await first.claim(LONG) == 1


async def test_a_former_holder_cannot_release_it(bench: Bench) -> None:
    first, second, third = bench.replica(), bench.replica(), bench.replica()
    await first.claim(LONG)
    await first.release()
    await second.claim(LONG)
    await first.release()

    assert await third.claim(LONG) == bench.epoch(None)


@pytest.mark.parametrize("exclusive", [True, False], ids=["exclusive", "shared"])
async def test_an_unreachable_database_matters_only_if_it_is_exclusive(exclusive: bool) -> None:
    async with using_engine("postgresql://nobody@127.0.0.1:1/app") as engine:
        lease = Bookkeeping(engine, journal=exclusive).lease("orders", "default", "host/1/x")
        failed = {}
        for name, call in {"claim": lease.claim(LONG), "release": lease.release()}.items():
            try:
                await call
            except Unusable as error:
                failed[name] = str(error)

    assert failed.keys() == ({"claim", "release"} if exclusive else set())
    assert all("unreachable" in why for why in failed.values())
