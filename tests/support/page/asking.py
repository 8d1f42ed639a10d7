"""Requests to an application, without a socket."""

from __future__ import annotations

import httpx
from starlette.types import ASGIApp


def asking(application: ASGIApp) -> httpx.AsyncClient:
    """A client whose requests the application answers, at http://localhost."""
    # It never opens a connection; reading the certificates of this host takes a while.
    return httpx.AsyncClient(
        transport=httpx.ASGITransport(application),
        base_url="http://localhost",
        verify=False,  # noqa: S501
    )
