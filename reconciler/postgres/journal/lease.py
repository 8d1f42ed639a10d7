"""The lease: of several replicas of `reconciler run`, one passes over a table at a time.

A row and not a session lock, so that it works behind a transaction-mode pooler; all its times are
the database's, so that no two hosts' clocks are compared. It saves work and nothing else: that two
replicas never overwrite one another rests on the guarded write, so a holder that has lost the
lease without knowing does no harm.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql
from sqlalchemy.ext.asyncio import AsyncEngine

from reconciler.postgres.connection.engine import translated
from reconciler.postgres.schema import lease

#: A lease with more than this beyond what it is claimed for dates from before the database's clock
#: was set back. Whoever waits for that of the dead waits so much longer than it lasts.
SPARE = timedelta(seconds=1)


def lease_name(table_name: str, of: str = "") -> str:
    """What a lease is on: a table, for the loop; or `of` another kind of pass over it."""
    return f"{table_name} ({of})" if of else table_name


class Lease:
    """One replica's side of the lease on a table and a namespace."""

    def __init__(self, engine: AsyncEngine, table_name: str, namespace: str, holder: str) -> None:
        """`holder` must be this process's alone: a name that comes back would pass for it."""
        self._engine = engine
        self._key = {"table_name": table_name, "namespace": namespace}
        self._holder = holder

    async def claim(self, duration: timedelta) -> int | None:
        """Take the lease if it is free, or keep it; None while another replica holds it.

        Returns the epoch, which changes whenever another holder has been in between. Raises
        `DatabaseUnusable`. A lease that lasts longer than one can be claimed for is free: it
        dates from before the database's clock was set back. Its holder may be alive, and loses it
        if it does not claim it again first.
        """
        now = sa.func.clock_timestamp()
        expires_at = now + duration
        taking = postgresql.insert(lease).values(
            **self._key, holder=self._holder, epoch=1, expires_at=expires_at
        )
        passes_on = sa.cast(lease.c.holder != taking.excluded.holder, sa.Integer)
        statement = taking.on_conflict_do_update(
            index_elements=list(self._key),
            set_={
                "holder": taking.excluded.holder,
                "epoch": lease.c.epoch + passes_on,
                "expires_at": taking.excluded.expires_at,
            },
            where=sa.or_(
                lease.c.holder == taking.excluded.holder,
                lease.c.expires_at <= now,
                sa.and_(
                    lease.c.expires_at > now + duration + SPARE,
                    sa.func.isfinite(lease.c.expires_at),
                ),
            ),
        ).returning(lease.c.epoch)
        with translated("use reconciler.lease"):
            async with self._engine.begin() as connection:
                epoch: int | None = await connection.scalar(statement)
                return epoch

    async def release(self) -> None:
        """Let another replica have it at once. Does nothing if it is not ours."""
        theirs = [lease.c[name] == value for name, value in self._key.items()]
        statement = (
            sa.update(lease)
            .where(*theirs, lease.c.holder == self._holder)
            .values(expires_at=sa.func.clock_timestamp())
        )
        with translated("use reconciler.lease"):
            async with self._engine.begin() as connection:
                await connection.execute(statement)


@dataclass(frozen=True, slots=True)
class HeldLease:
    """A lease that somebody holds just now."""

    #: As `lease_name` made it.
    name: str
    namespace: str
    holder: str

    def kind(self, table_name: str) -> str | None:
        """The kind of pass over this table, "" for the loop's; None if it is for another table."""
        if self.name == table_name:
            return ""
        start, end = lease_name(table_name, "\0").split("\0")
        fits = self.name.startswith(start) and self.name.endswith(end)
        return self.name.removeprefix(start).removesuffix(end) if fits else None


async def held_leases(engine: AsyncEngine) -> Sequence[HeldLease]:
    """Whoever holds a lease on any table. Reads only. Raises `DatabaseUnusable`."""
    held = sa.select(lease.c.table_name, lease.c.namespace, lease.c.holder).where(
        lease.c.expires_at > sa.func.clock_timestamp()
    )
    with translated("read reconciler.lease"):
        async with engine.connect() as connection:
            return [HeldLease(*row) for row in (await connection.execute(held)).all()]
