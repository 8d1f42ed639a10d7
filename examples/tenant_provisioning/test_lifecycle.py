"""The life cycle of tenants, over HTTP: the main path and `reconciler once` write the ends."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from sqlalchemy.engine import make_url
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine
from temporalio.client import Client
from temporalio.worker import Worker

from tenant_provisioning.api import create_app
from tenant_provisioning.service import TenantService
from tenant_provisioning.worker import create_worker
from tenant_provisioning.workflows import TenantRequest


@pytest.fixture
def environment(
    database_url: str, temporal: Client, monkeypatch: pytest.MonkeyPatch
) -> dict[str, str]:
    """Environment variables of the application, its worker and the reconciler."""
    url = make_url(database_url).set(drivername="postgresql+asyncpg")
    variables = {
        "DATABASE_URL": url.render_as_string(hide_password=False),
        "TEMPORAL_ADDRESS": temporal.service_client.config.target_host,
        # By default a pass leaves rows without a workflow alone for a minute.
        "RECONCILER_GRACE": "0s",
    }
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    return variables


@pytest.fixture
async def engine(environment: dict[str, str]) -> AsyncIterator[AsyncEngine]:
    """The worker's engine."""
    engine = create_async_engine(environment["DATABASE_URL"])
    yield engine
    await engine.dispose()


@pytest.fixture
async def worker(temporal: Client, engine: AsyncEngine) -> AsyncIterator[Worker]:
    """The worker, with the plugin."""
    async with create_worker(temporal, engine) as worker:
        yield worker


class Api:
    """The application, called over HTTP."""

    def __init__(self, http: httpx.AsyncClient, service: TenantService) -> None:
        self.http = http
        #: For operations that the API does not offer.
        self.service = service

    async def provision(self, tenant: str, plan: str = "standard") -> None:
        """Request a tenant."""
        response = await self.http.post("/tenants", json={"tenant": tenant, "plan": plan})
        assert response.status_code == 202

    async def show(self, tenant: str) -> dict[str, Any]:
        """The state of a tenant."""
        shown: dict[str, Any] = (await self.http.get(f"/tenants/{tenant}")).json()
        return shown

    async def ended(self, tenant: str) -> dict[str, Any]:
        """Wait until a tenant's row is no longer running, and return it."""
        async with asyncio.timeout(60):
            while (shown := await self.show(tenant))["status"] == "running":
                await asyncio.sleep(0.05)
        return shown


@pytest.fixture
async def api(environment: dict[str, str]) -> AsyncIterator[Api]:
    """The application."""
    app = create_app()
    async with (
        app.router.lifespan_context(app),
        httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://tenants") as http,
    ):
        await reconciler("migrate")
        yield Api(http, app.state.service)


async def reconciler(*arguments: str) -> dict[str, Any]:
    """Run the command; return its report, with --json."""
    command = await asyncio.create_subprocess_exec(
        str(Path(sys.executable).with_name("reconciler")),
        *arguments,
        stdout=asyncio.subprocess.PIPE,
        env=dict(os.environ),
    )
    output, _ = await command.communicate()
    assert command.returncode == 0
    report: dict[str, Any] = json.loads(output) if "--json" in arguments else {}
    return report


FAILURE = "activity create_dns_zone failed (non retryable failure): NameReserved: www is reserved"


class TestTheMainPath:
    """The reconciler does not run."""

    async def test_success(self, api: Api, worker: Worker) -> None:
        await api.provision("acme")

        shown = await api.ended("acme")
        assert (shown["status"], shown["error_message"]) == ("completed", None)
        assert shown["completed_at"]

    async def test_failure(self, api: Api, worker: Worker) -> None:
        await api.provision("www")

        shown = await api.ended("www")
        assert (shown["status"], shown["error_message"]) == (
            "failed",
            FAILURE,
        )

    async def test_cancellation(self, api: Api, worker: Worker) -> None:
        await api.provision("globex", "enterprise")
        await api.http.post("/tenants/globex/cancel", params={"reason": "customer withdrew"})

        shown = await api.ended("globex")
        assert (shown["status"], shown["error_message"]) == (
            "failed",
            "canceled: customer withdrew",
        )

    async def test_approval(self, api: Api, worker: Worker) -> None:
        await api.provision("initech", "enterprise")
        assert (await api.show("initech"))["status"] == "running"
        await api.http.post("/tenants/initech/approve")

        assert (await api.ended("initech"))["status"] == "completed"

    async def test_an_unknown_tenant_cannot_be_approved_or_cancelled(self, api: Api) -> None:
        for path in ("tenants/nobody/approve", "tenants/nobody/cancel?reason=none"):
            answer = await api.http.post(f"/{path}")
            assert (answer.status_code, answer.json()) == (
                404,
                {"detail": "no workflow of this tenant is running"},
            )

    async def test_a_repeated_request_starts_nothing(self, api: Api, worker: Worker) -> None:
        await api.provision("umbrella", "enterprise")
        await api.provision("umbrella", "enterprise")
        await api.http.post("/tenants/umbrella/approve")

        assert (await api.ended("umbrella"))["status"] == "completed"
        report = await reconciler("once", "--json")
        assert report["scanned"] == 0


class TestOutOfBand:
    """Ends that no workflow can write."""

    async def test_termination(self, api: Api, worker: Worker, temporal: Client) -> None:
        await api.provision("stark", "enterprise")
        await temporal.get_workflow_handle("tenant-stark").terminate(reason="ticket 42")
        assert (await api.show("stark"))["status"] == "running"

        report = await reconciler("once", "--json")

        assert report["written"] == {"completed": 0, "failed": 1}
        shown = await api.show("stark")
        assert shown["status"] == "failed"
        assert shown["error_message"].endswith(": ticket 42")

    async def test_an_end_before_the_row_exists(
        self, api: Api, worker: Worker, temporal: Client
    ) -> None:
        start = api.service.start

        async def start_and_finish(request: TenantRequest) -> str | None:
            run_id = await start(request)
            await temporal.get_workflow_handle("tenant-wayne").result()
            return run_id

        api.service.start = start_and_finish  # type: ignore[method-assign]
        await api.service.start_then_insert(TenantRequest("wayne"))
        assert (await api.show("wayne"))["status"] == "running"

        await reconciler("once")

        assert (await api.show("wayne"))["status"] == "completed"

    async def test_a_crash_between_insert_and_start(self, api: Api, worker: Worker) -> None:
        await api.service.insert_row("hooli")  # crashes here
        report = await reconciler("once", "--json")
        assert report["left"]["never_started"] == 1
        assert (await api.show("hooli"))["status"] == "running"

        await api.provision("hooli")  # the customer tries again

        assert (await api.ended("hooli"))["status"] == "completed"


async def test_an_unknown_tenant_is_not_found(api: Api) -> None:
    assert (await api.http.get("/tenants/nobody")).status_code == 404
