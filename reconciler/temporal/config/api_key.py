"""An API key file, re-read while the loop runs: keys are short-lived."""

from __future__ import annotations

import os
import re
import time
from collections.abc import Callable
from pathlib import Path

import structlog

from reconciler.core.errors import ConfigurationError
from reconciler.host.causes import Causes
from reconciler.host.files import read_secret

#: Not one of Temporal's own variables.
API_KEY_FILE = "TEMPORAL_API_KEY_FILE"
#: Seconds between two reads of the file, while calls are made.
READ_EVERY = 1.0
#: A header cannot hold anything else; the SDK would silently omit it.
_KEY = re.compile(r"[!-~]+")

log = structlog.get_logger(__name__)


def check_key(name: str, key: str) -> str:
    """Return the key if it is valid. Raises `ConfigurationError`, which does not repeat it."""
    if not _KEY.fullmatch(key):
        raise ConfigurationError(f"{name}: must hold the key and nothing else, in one line")
    return key


class KeyFile:
    """An API key file that is re-read while running.

    If it cannot be read later, the last key is kept, and each reason is logged once.
    """

    def __init__(self, path: str, clock: Callable[[], float] = time.monotonic) -> None:
        """Raises `ConfigurationError` if there is no key in the file."""
        # Leaves a "~" that it cannot expand; then the file is not found.
        self.path, self._clock = Path(os.path.expanduser(path)), clock  # noqa: PTH111
        self._key = self._read()
        self._read_at = clock()
        #: Its rounds are reads.
        self._causes = Causes()
        #: Called with each new key.
        self.on_change: Callable[[str], None] | None = None

    def current(self, *, force: bool = False) -> str:
        """The current key; reads the file at most once a second, unless `force`."""
        now = self._clock()
        if force or now - self._read_at >= READ_EVERY:
            self._read_at = now
            self._reread()
        return self._key

    def _reread(self) -> None:
        self._causes.end_round()
        try:
            key = self._read()
        except ConfigurationError as error:
            if self._causes.is_news(str(error)):
                log.warning("api_key_kept", error=str(error))
            return
        if key != self._key:
            self._key = key
            log.info("api_key_renewed", file=str(self.path))
            if self.on_change is not None:
                self.on_change(key)

    def _read(self) -> str:
        key = read_secret(API_KEY_FILE, self.path)
        return check_key(f"{API_KEY_FILE}: {self.path}", key.strip())
