"""What the closings feed needs from servers; the other ports are in `core/ports.py`."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from datetime import datetime
from typing import Protocol

from reconciler.core.feed.closing import Listed, Listing
from reconciler.core.feed.saved_marks import SavedMarks
from reconciler.core.model import CloseStatus


class Closings(Protocol):
    """Visibility as a feed: what closed last, by status."""

    async def read(self, namespace: str, status: CloseStatus, asked: Listing) -> Listed:
        """The newest closings of a status in a namespace, by name.

        Raises `FeedOff` if the list is refused or not sorted by close time, and `Unusable` if
        Temporal as a whole cannot be used.
        """
        ...


class Marks(Protocol):
    """The closings feed's marks over one table, for a restart and for other replicas.

    Every method raises `Unusable`.
    """

    async def namespaces(self) -> Collection[str]:
        """The names of the namespaces of which marks are kept."""
        ...

    async def load(self, namespace_id: str) -> SavedMarks | None:
        """The marks that were saved last for a namespace, by Temporal's id; None if there are none.

        Without a journal, those of this process.
        """
        ...

    async def save(
        self, namespace_id: str, name: str, marks: Mapping[CloseStatus, datetime]
    ) -> None:
        """Replace the marks of a namespace; `name`: what it is called now."""
        ...
