"""PostgreSQL and Temporal to try the example on: `python -m tenant_provisioning.servers`."""

from __future__ import annotations

import asyncio
import contextlib

from sqlalchemy.engine import make_url

from reconciler.demo.servers import postgres_server, temporal_server


async def main() -> None:
    """Run both until interrupted, and say where they are."""
    with postgres_server() as url:
        async with temporal_server() as environment:
            database = make_url(url).set(drivername="postgresql+asyncpg")
            address = environment.client.service_client.config.target_host
            print(f"export DATABASE_URL='{database.render_as_string(hide_password=False)}'")  # noqa: T201
            print(f"export TEMPORAL_ADDRESS={address}", flush=True)  # noqa: T201
            await asyncio.Event().wait()


if __name__ == "__main__":
    with contextlib.suppress(KeyboardInterrupt):
        asyncio.run(main())
