"""The HTTP side: `uvicorn --factory tenant_provisioning.api:create_app`."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import datetime
from typing import Annotated

from fastapi import Depends, FastAPI, HTTPException, Request
from fastapi.responses import JSONResponse
from pydantic import BaseModel, Field
from sqlalchemy.ext.asyncio import async_sessionmaker, create_async_engine
from temporalio.client import Client
from temporalio.service import RPCError, RPCStatusCode

from tenant_provisioning.models import Base
from tenant_provisioning.service import TenantService
from tenant_provisioning.workflows import TenantRequest


class NewTenant(BaseModel):
    """A customer's request."""

    tenant: str = Field(pattern=r"^[a-z][a-z0-9-]{0,30}$")
    plan: str = Field("standard", pattern="^(standard|enterprise)$")


class Provisioning(BaseModel):
    """The state of a tenant, as in its row."""

    workflow_id: str
    status: str
    completed_at: datetime | None = None
    error_message: str | None = None


def _service(request: Request) -> TenantService:
    service: TenantService = request.app.state.service
    return service


Service = Annotated[TenantService, Depends(_service)]


def create_app() -> FastAPI:
    """The application; DATABASE_URL and TEMPORAL_ADDRESS name its servers."""

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        engine = create_async_engine(os.environ["DATABASE_URL"])
        async with engine.begin() as connection:
            await connection.run_sync(Base.metadata.create_all)
        client = await Client.connect(os.environ["TEMPORAL_ADDRESS"])
        app.state.service = TenantService(client, async_sessionmaker(engine))
        yield
        await engine.dispose()

    app = FastAPI(title="Tenants", lifespan=lifespan)

    @app.exception_handler(RPCError)
    async def not_running(_: Request, error: RPCError) -> JSONResponse:
        if error.status is not RPCStatusCode.NOT_FOUND:
            raise error
        return JSONResponse({"detail": "no workflow of this tenant is running"}, 404)

    @app.post("/tenants", status_code=202)
    async def provision(new: NewTenant, service: Service) -> Provisioning:
        await service.insert_then_start(TenantRequest(new.tenant, new.plan))
        return await show(new.tenant, service)

    @app.get("/tenants/{tenant}")
    async def show(tenant: str, service: Service) -> Provisioning:
        row = await service.latest(tenant)
        if row is None:
            raise HTTPException(404, f"no tenant {tenant}")
        return Provisioning.model_validate(row, from_attributes=True)

    @app.post("/tenants/{tenant}/approve", status_code=202)
    async def approve(tenant: str, service: Service) -> None:
        await service.approve(tenant)

    @app.post("/tenants/{tenant}/cancel", status_code=202)
    async def cancel(tenant: str, reason: str, service: Service) -> None:
        await service.cancel(tenant, reason)

    return app
