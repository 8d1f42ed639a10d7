"""PostgreSQL and Temporal for the example: `python -m tenant_provisioning.servers`."""

from __future__ import annotations

import asyncio
import signal

from sqlalchemy.engine import make_url

from reconciler.demo.servers import postgres_server, temporal_server


async def main() -> None:
    """Print the addresses of both servers, and run them until interrupted or terminated."""
    stopped = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stopped.set)
    with postgres_server() as url:
        async with temporal_server() as environment:
            database = make_url(url).set(drivername="postgresql+asyncpg")
            address = environment.client.service_client.config.target_host
            print(f"export DATABASE_URL='{database.render_as_string(hide_password=False)}'")  # noqa: T201
            print(f"export TEMPORAL_ADDRESS={address}", flush=True)  # noqa: T201
            await stopped.wait()


if __name__ == "__main__":
    asyncio.run(main())
