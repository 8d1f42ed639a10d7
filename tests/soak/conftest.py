from __future__ import annotations

from tests.acceptance.feed.conftest import place, scene

__all__ = ["place", "scene"]
