"""The lease: only one replica of `reconciler run` at a time passes over a table.

It is a row, not a session lock, so it works behind a transaction-mode pooler. All times are the
database's, so hosts' clocks are never compared. It only saves work: the guarded write keeps two
replicas from overwriting each other, so a holder that has lost the lease unknowingly does no harm.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql
from sqlalchemy.ext.asyncio import AsyncEngine

from reconciler.postgres.connection.engine import translated
from reconciler.postgres.connection.queries import fetch
from reconciler.postgres.schema import lease

#: A lease that expires more than this after its longest duration was claimed before the database's
#: clock was set back. To wait for the lease of a dead replica takes this much longer.
SPARE = timedelta(seconds=1)


def lease_name(table_name: str, of: str = "") -> str:
    """The name of a lease: a table, for the loop; or `of` another kind of pass over it."""
    return f"{table_name} ({of})" if of else table_name


class PostgresLease:
    """One replica's side of the lease on a table and a namespace."""

    def __init__(self, engine: AsyncEngine, table_name: str, namespace: str, holder: str) -> None:
        """`holder` must be unique to this process: any process with that name holds the lease."""
        self._engine = engine
        self._key = {"table_name": table_name, "namespace": namespace}
        self._holder = holder

    async def claim(self, duration: timedelta) -> int | None:
        """Take the lease if it is free, or keep it; None while another replica holds it.

        Returns the epoch, which changes with every other holder. Raises `DatabaseUnusable`. A
        lease that lasts longer than one can be claimed for is free: it was claimed before the
        database's clock was set back. Its holder may be alive, and loses it unless it claims it
        again first.
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
        """Free the lease at once. Does nothing if another replica holds it."""
        same = [lease.c[name] == value for name, value in self._key.items()]
        statement = (
            sa.update(lease)
            .where(*same, lease.c.holder == self._holder)
            .values(expires_at=sa.func.clock_timestamp())
        )
        with translated("use reconciler.lease"):
            async with self._engine.begin() as connection:
                await connection.execute(statement)


@dataclass(frozen=True, slots=True)
class HeldLease:
    """A lease that a process holds now."""

    #: By `lease_name`.
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
    """The leases held now, on any table. Reads only. Raises `DatabaseUnusable`."""
    held = sa.select(lease.c.table_name, lease.c.namespace, lease.c.holder).where(
        lease.c.expires_at > sa.func.clock_timestamp()
    )
    with translated("read reconciler.lease"):
        return [HeldLease(*row) for row in await fetch(engine, held)]
