"""An API key in a file, which is read again while the loop runs: keys are short-lived."""

from __future__ import annotations

import os
import re
import time
from collections.abc import Callable
from pathlib import Path

import structlog

from reconciler.core.errors import ConfigurationError
from reconciler.host.files import read_secret

#: Ours: Temporal's own code does not know it.
API_KEY_FILE = "TEMPORAL_API_KEY_FILE"
#: Seconds between two reads of the file, while calls are made.
LOOK_EVERY = 1.0
#: A header cannot hold anything else, and the SDK would silently omit it.
_KEY = re.compile(r"[!-~]+")

log = structlog.get_logger(__name__)


def check_key(name: str, key: str) -> str:
    """The key, if it is valid. Raises `ConfigurationError`, which does not repeat it."""
    if not _KEY.fullmatch(key):
        raise ConfigurationError(f"{name}: must hold the key and nothing else, in one line")
    return key


class KeyFile:
    """An API key file that is re-read while running.

    If the file cannot be read later, the key that works is kept, and the error is logged once.
    """

    def __init__(self, path: str, clock: Callable[[], float] = time.monotonic) -> None:
        """Raises `ConfigurationError` if there is no key in the file."""
        # Unchanged where there is no such home; the file is not found then.
        self._path, self._clock = Path(os.path.expanduser(path)), clock  # noqa: PTH111
        self._key = self._read()
        self._looked_at = clock()
        self._in_trouble = False
        #: Called with each new key.
        self.on_change: Callable[[str], None] | None = None

    def renewed(self, *, at_once: bool = False) -> str:
        """The current key; reads the file at most once a second, unless `at_once`."""
        now = self._clock()
        if at_once or now - self._looked_at >= LOOK_EVERY:
            self._looked_at = now
            self._look()
        return self._key

    def _look(self) -> None:
        try:
            key = self._read()
        except ConfigurationError as error:
            if not self._in_trouble:
                log.warning("api_key_kept", error=str(error))
            self._in_trouble = True
            return
        self._in_trouble = False
        if key != self._key:
            self._key = key
            log.info("api_key_renewed", file=str(self._path))
            if self.on_change is not None:
                self.on_change(key)

    def _read(self) -> str:
        key = read_secret(API_KEY_FILE, self._path)
        return check_key(f"{API_KEY_FILE}: {self._path}", key.strip())
