"""A certificate authority for tests of TLS."""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import trustme


@dataclass(frozen=True)
class Certificate:
    """A certificate and its private key as PEM files, for servers and clients."""

    cert: Path
    key: Path


class Authority:
    """Issues certificates, which a process trusts if it has `root`, a PEM file."""

    def __init__(self, folder: Path, name: str = "authority") -> None:
        self._authority = trustme.CA()
        self._folder, self._name = folder, name
        self._numbers = itertools.count(1)
        self.root = folder / f"{name}.pem"
        self._authority.cert_pem.write_to_path(str(self.root))

    def issue(
        self,
        *names: str,
        common_name: str | None = None,
        not_before: datetime | None = None,
        not_after: datetime | None = None,
    ) -> Certificate:
        """Issue one for host names or addresses; PostgreSQL reads the role from `common_name`."""
        issued = self._authority.issue_cert(
            *names, common_name=common_name, not_before=not_before, not_after=not_after
        )
        base = f"{self._name}-{next(self._numbers)}"
        made = Certificate(self._folder / f"{base}.crt", self._folder / f"{base}.key")
        for number, pem in enumerate(issued.cert_chain_pems):
            pem.write_to_path(str(made.cert), append=number > 0)
        issued.private_key_pem.write_to_path(str(made.key))
        made.key.chmod(0o600)  # otherwise libpq and the server refuse it
        return made
