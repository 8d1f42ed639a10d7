"""The pages of passes."""

from __future__ import annotations

from datetime import datetime
from functools import partial
from uuid import UUID

from reconciler.app.app import App
from reconciler.app.overview.model import PassesPage, PassPage
from reconciler.app.overview.patience import in_time
from reconciler.core.model import Mode
from reconciler.postgres.connection.queries import QUICK
from reconciler.postgres.journal.entries import StoredPass
from reconciler.postgres.journal.reader import JournalReader

#: Passes on a page, and changes of a pass.
PASSES, CHANGES = 50, 100
NO_JOURNAL = "RECONCILER_JOURNAL is off: passes and their changes are not recorded"

_NOT_OF_FEED = [mode for mode in Mode if mode is not Mode.FEED]


class PassPages:
    """Reads the history and the journal, one page at a time."""

    def __init__(self, app: App) -> None:
        self._app, self._journal = app, JournalReader(app.engine, QUICK, app.listed_scope)

    async def passes(self, older_than: str | None, *, with_feed: bool) -> PassesPage:
        """The newest passes, or those older than the cursor; any other text is ignored."""
        if not self._app.journals:
            return PassesPage(now=self._app.clock.now(), passes=(), error=NO_JOURNAL)
        reading = partial(self._read, _read_cursor(older_than), with_feed=with_feed)
        found, why = await in_time(reading)
        shown = tuple(found or ())[:PASSES]
        return PassesPage(
            now=self._app.clock.now(),
            passes=shown,
            older=_cursor(shown[-1]) if found and len(found) > PASSES else None,
            error=why,
        )

    async def one_pass(self, pass_id: UUID) -> PassPage | str | None:
        """A pass; None if there is none with this id, or why that is not known."""
        if not self._app.journals:
            return NO_JOURNAL
        found, why = await in_time(partial(self._read_one, pass_id))
        return why or found

    async def _read(
        self, older_than: tuple[datetime, UUID] | None, *, with_feed: bool
    ) -> list[StoredPass]:
        modes = () if with_feed else _NOT_OF_FEED
        pages = self._journal.passes(PASSES + 1, modes=modes, older_than=older_than)
        return [each async for page in pages for each in page]

    async def _read_one(self, pass_id: UUID) -> PassPage | None:
        found = await self._journal.find(pass_id.hex, 1)
        if not found:
            return None
        pages = self._journal.changes(CHANGES + 1, pass_id=pass_id)
        changes = [each async for page in pages for each in page]
        return PassPage(
            now=self._app.clock.now(),
            stored=found[0],
            changes=tuple(changes[:CHANGES]),
            more=len(changes) > CHANGES,
            undo_command=f"reconciler undo {pass_id}" if changes else "",
        )


def _cursor(last: StoredPass) -> str:
    return f"{last.started_at.isoformat()}_{last.id}"


def _read_cursor(text: str | None) -> tuple[datetime, UUID] | None:
    """What `_cursor` has written; None for any other text."""
    at, _, id_ = (text or "").partition("_")
    try:
        time = datetime.fromisoformat(at)
        return (time, UUID(id_)) if time.tzinfo is not None else None
    except ValueError:
        return None
