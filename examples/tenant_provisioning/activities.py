"""The steps of provisioning. Placeholders: real ones would call a cloud."""

from __future__ import annotations

from temporalio import activity
from temporalio.exceptions import ApplicationError

RESERVED = {"www", "mail"}


@activity.defn
async def create_database(tenant: str) -> str:
    """Create the tenant's database; return its name."""
    return f"{tenant}_db"


@activity.defn
async def create_dns_zone(tenant: str) -> str:
    """Create the tenant's zone; return its name. Some names are reserved."""
    if tenant in RESERVED:
        raise ApplicationError(f"{tenant} is reserved", type="NameReserved", non_retryable=True)
    return f"{tenant}.example.com"
