"""The lease on the real thing: one holder at a time, by the database's clock."""

from __future__ import annotations

from datetime import timedelta
from uuid import uuid4

import pytest

from reconciler.core.errors import DatabaseUnusable
from reconciler.postgres.journal.lease import PostgresLease
from tests.conftest import Database

LONG = timedelta(minutes=5)


def lease(database: Database, table: str = "orders", namespace: str = "default") -> PostgresLease:
    return PostgresLease(database.engine, table, namespace, f"host/1/{uuid4()}")


@pytest.mark.parametrize("back", ["45 seconds", "5 hours"])
async def test_one_from_before_the_databases_clock_was_set_back_is_free(
    database: Database, back: str
) -> None:
    first, second = lease(database), lease(database)
    await first.claim(LONG)
    assert await second.claim(LONG) is None
    await database.execute(
        f"UPDATE reconciler.lease SET expires_at = now() + interval '5 minutes {back}'"
    )

    assert await second.claim(LONG) == 2
    (row,) = await database.fetch(
        "SELECT expires_at <= now() + interval '5 minutes' AS set FROM reconciler.lease"
    )
    assert row["set"]


async def test_tables_and_namespaces_have_one_each(database: Database) -> None:
    claims = [
        await lease(database, *of).claim(LONG)
        for of in [("orders", "a"), ("orders", "b"), ("tenants", "a")]
    ]

    assert claims == [1, 1, 1]


async def test_the_time_is_the_databases(database: Database) -> None:
    await lease(database).claim(LONG)

    (row,) = await database.fetch(
        "SELECT expires_at - now() BETWEEN '4 minutes 55 seconds' AND '5 minutes' AS right"
        " FROM reconciler.lease"
    )
    assert row == {"right": True}


async def test_a_lease_that_cannot_be_written_is_said_so(database: Database) -> None:
    await database.execute("DROP TABLE reconciler.lease")

    with pytest.raises(DatabaseUnusable, match=r"cannot use reconciler\.lease"):
        await lease(database).claim(LONG)
