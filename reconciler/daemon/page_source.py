"""What the page shows of this process: implements `PageSource`."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from functools import partial
from typing import Any
from uuid import UUID

from reconciler import __version__
from reconciler.app.app import App
from reconciler.app.overview.kept import CURRENT, Kept
from reconciler.app.overview.model import Overview, PassesPage, PassPage, RowPage
from reconciler.app.overview.parts import Parts
from reconciler.app.overview.passes import PassPages
from reconciler.app.overview.rows import RowPages
from reconciler.daemon.health import Health
from reconciler.daemon.working import Places, Unreachable, read_working, unreachable_servers
from reconciler.settings.display import database_place
from reconciler.settings.model import Settings

NO_JOURNAL = (
    "RECONCILER_JOURNAL is off: without the schema reconciler there is no record of what was "
    "repaired, what is stuck, and what is about to be lost"
)


class LoopPage:
    """The page of `reconciler run`, also while it waits for a server to start."""

    def __init__(self, health: Health, settings: Settings, temporal: Mapping[str, Any]) -> None:
        """`temporal`: the arguments of `Client.connect`."""
        self._health, self._table = health, settings.table
        self._namespace = str(temporal.get("namespace", "default"))
        address = str(temporal["target_host"]).rpartition("@")[2]
        self._places = Places(
            database=database_place(settings.database_url.get_secret_value()),
            temporal=f"{address}, namespace {self._namespace}",
        )
        self._known: _Connected | None = None

    @property
    def _connected(self) -> _Connected | None:
        """None while they are not connected."""
        if (app := self._health.app) is None:
            return None
        if self._known is None or self._known.app is not app:
            self._known = _Connected(self._health, app)
        return self._known

    async def overview(self, *, patient: bool = False) -> Overview:
        """The answers to the five questions."""
        if (connected := self._connected) is None:
            working = read_working(self._health, self._places)
            return Overview(**self._where(), working=working, why_no_parts=working.headline)
        if connected.parts is None:
            servers = await connected.servers.get(patient=patient)
            working = read_working(self._health, self._places, servers)
            away = unreachable_servers(self._health, servers or Unreachable())
            return Overview(
                **self._where(), working=working, why_no_parts=NO_JOURNAL, unavailable=away
            )
        connected.note_role(self._health.role)
        servers, found = await asyncio.gather(
            connected.servers.get(patient=patient), connected.parts.read(patient=patient)
        )
        unreachable = servers or Unreachable()
        connected.note(unreachable)
        away = unreachable_servers(self._health, unreachable)
        return Overview(
            **self._where(),
            working=read_working(self._health, self._places, servers, found.passes),
            repaired=found.repaired,
            losing=found.losing,
            stuck=found.stuck,
            at_risk=found.at_risk,
            # One banner for the cause, not one for each part that it has hidden.
            unavailable=away if unreachable.database else (*away, *found.errors),
            as_of=found.as_of,
        )

    async def row(self, workflow_id: str) -> RowPage:
        """What is known about the rows of a workflow id."""
        if (connected := self._connected) is not None:
            return await connected.rows.get(workflow_id)
        now, why = self._health.record.clock(), self._why_not_connected
        return RowPage(workflow_id=workflow_id, now=now, namespace=self._namespace, error=why)

    async def passes(self, older_than: str | None, *, with_feed: bool) -> PassesPage:
        """A page of passes."""
        if (connected := self._connected) is not None:
            return await connected.passes.passes(older_than, with_feed=with_feed)
        return PassesPage(now=self._health.record.clock(), passes=(), error=self._why_not_connected)

    async def one_pass(self, pass_id: UUID) -> PassPage | str | None:
        """A pass; None if there is none with this id, or why that is not known."""
        if (connected := self._connected) is not None:
            return await connected.passes.one_pass(pass_id)
        return self._why_not_connected

    @property
    def _why_not_connected(self) -> str:
        return read_working(self._health, self._places).headline

    def _where(self) -> Mapping[str, Any]:
        app = self._health.app
        return {
            "now": self._health.record.clock(),
            "table": self._table,
            "namespace": self._namespace if app is None else app.scope_namespace,
            "version": __version__,
        }


class _Connected:
    """What can be asked once both servers are connected."""

    def __init__(self, health: Health, app: App) -> None:
        self.app = app
        self.servers = Kept(partial(_look, health, app), longest=CURRENT)
        self.parts = Parts(app) if app.journals else None
        self.rows, self.passes = RowPages(app), PassPages(app)
        self._was_away, self._role = False, health.role

    def note_role(self, role: str) -> None:
        """Who holds the lease must agree with whether this process does."""
        if role != self._role and self.parts is not None:
            self.parts.expire_holder()
        self._role = role

    def note(self, unreachable: Unreachable) -> None:
        """Once the database answers again, so must the parts that could not be read."""
        is_away = unreachable.database is not None
        if self._was_away and not is_away and self.parts is not None:
            self.parts.retry()
        self._was_away = is_away


async def _look(health: Health, app: App) -> Unreachable:
    return Unreachable(*await health.look(app))
