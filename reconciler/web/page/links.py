"""URLs on the page: relative to the page itself, so that it works behind any prefix."""

from __future__ import annotations

from dataclasses import dataclass, replace
from urllib.parse import quote

#: Segments of a path that browsers and proxies remove.
_REMOVED = frozenset({"", ".", ".."})


def depth_of(raw_path: str) -> int:
    """How many folders below `/` this path is, as a browser counts them."""
    return max(raw_path.count("/") - 1, 0)


@dataclass(frozen=True, slots=True)
class Links:
    """The links of one page."""

    #: How many folders below `/` it is.
    depth: int
    #: The base URL of Temporal's UI; None if it is not set.
    temporal_ui: str | None = None
    #: The target that they lead to; empty without targets.
    target: str = ""

    @property
    def top(self) -> str:
        """The first page: all targets, or the overview if there are none; files are below it."""
        return "../" * self.depth or "./"

    @property
    def root(self) -> str:
        """The overview."""
        return f"{self.top}targets/{_quoted(self.target)}/" if self.target else self.top

    def of(self, target: str) -> Links:
        """Links from the same page to another target."""
        return replace(self, target=target)

    def passes(self, older_than: str | None = None, *, with_feed: bool = True) -> str:
        """The passes, or those after this cursor; with or without those of the feed."""
        given = {"feed": None if with_feed else "off", "older": older_than}
        query = "&".join(f"{name}={_quoted(value)}" for name, value in given.items() if value)
        return f"{self.root}passes" + (f"?{query}" if query else "")

    def one_pass(self, pass_id: object) -> str:
        """A pass."""
        return f"{self.root}passes/{_quoted(str(pass_id))}"

    def row(self, workflow_id: str) -> str:
        """The rows of a workflow id.

        Slashes stay as they are: many proxies decode `%2F`, and the page would then be at another
        depth for us than for the browser. An id that would not survive as a path is a parameter;
        nor would a line break, at which a route ends.
        """
        parts = workflow_id.split("/")
        if _REMOVED.isdisjoint(parts) and "\n" not in workflow_id:
            return f"{self.root}rows/{'/'.join(map(_quoted, parts))}"
        return f"{self.root}rows/?id={_quoted(workflow_id)}"

    def temporal(self, namespace: str | None, workflow_id: str, run_id: str | None) -> str | None:
        """A workflow in Temporal's UI; None without such a UI, or if it cannot be linked."""
        ids = [workflow_id] if run_id is None else [workflow_id, run_id]
        # "*": each row has its own, and this one is not known.
        if not self.temporal_ui or namespace in (None, "", "*") or not _REMOVED.isdisjoint(ids):
            return None
        namespace = _quoted(str(namespace))
        path = "/".join(map(_quoted, ids)) + ("" if run_id is None else "/history")
        return f"{self.temporal_ui}/namespaces/{namespace}/workflows/{path}"


def _quoted(text: str) -> str:
    return quote(text, safe="", errors="replace")
