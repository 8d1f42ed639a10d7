"""What is wrong with TLS, told by the parameter that mends it.

The driver takes `sslmode`, `sslrootcert`, `sslcert`, `sslkey` and the like from the URL, or from
libpq's variables. What it says when a file is missing does not tell it from a server that is away,
which would be waited for in vain.
"""

from __future__ import annotations

import errno
import os
import ssl
from collections.abc import Iterator
from urllib.parse import parse_qsl, urlsplit

import asyncpg

from reconciler.core.errors import DatabaseUnfit, DatabaseUnusable
from reconciler.core.text import one_line
from reconciler.host.files import UnfitFile, check_file, open_file

#: From these on, the server's certificate is looked at if there is a root.
_STRICT = ("require", "verify-ca", "verify-full")
#: The files that the driver reads, and where it looks for those that are not named.
_FILES = {
    "sslrootcert": "~/.postgresql/root.crt",
    "sslcrl": "~/.postgresql/root.crl",
    "sslcert": "~/.postgresql/postgresql.crt",
    "sslkey": "~/.postgresql/postgresql.key",
    "servicefile": "~/.pg_service.conf",
}
#: Bytes of one of them: lists of revoked certificates are long.
_LARGEST = 64 * 1024 * 1024
#: Why OpenSSL does not accept a certificate that is otherwise good: it is for another host.
_MISMATCHES = (62, 64)  # X509_V_ERR_HOSTNAME_MISMATCH, X509_V_ERR_IP_ADDRESS_MISMATCH


def tls_trouble(error: BaseException, dsn: str) -> DatabaseUnusable | None:
    """What is to be mended, if TLS is why a connection has failed; never a secret."""
    parameters = _Parameters(dsn)
    for cause in _causes(error):
        if fault := _fault(cause, parameters):
            return DatabaseUnfit(f"cannot connect to the database: {fault}")
    # How a refusal looks like whose reason was lost on the way, but also a server that stops.
    hung_up = any(isinstance(each, asyncpg.ConnectionDoesNotExistError) for each in _causes(error))
    if hung_up and (parameters["sslcert"] or parameters["sslmode"] in _STRICT):
        return DatabaseUnusable(
            "cannot connect to the database: it hung up; if it asks for client certificates, check "
            f"{parameters.called('sslcert')}, and sslkey"
        )
    return None


def check_files(dsn: str) -> None:
    """Check that the files of a connection can be read without blocking.

    Raises `DatabaseUnfit`. Missing files are left to the driver: it may not need them.
    """
    if fault := _Parameters(dsn).unfit_file():
        raise DatabaseUnfit(f"cannot connect to the database: {fault}")


def _fault(cause: BaseException, parameters: _Parameters) -> str | None:
    match cause:
        case ssl.SSLCertVerificationError():
            return _not_trusted(cause, parameters)
        case ssl.SSLEOFError() | ssl.SSLZeroReturnError() | ssl.SSLSyscallError():
            return None  # the other side has gone
        case ssl.SSLError():
            return parameters.faulty_file() or _no_agreement(cause, parameters)
        case FileNotFoundError() | PermissionError() | IsADirectoryError() | NotADirectoryError():
            return parameters.faulty_file()  # or the socket is away
        case ConnectionError() if "rejected SSL upgrade" in str(cause):
            return (
                "the server has no TLS, and sslmode asks for it: turn it on there, or set another "
                f"{parameters.called('sslmode')}"
            )
        case asyncpg.ClientConfigurationError() if "root certificate" in str(cause):
            return f"this sslmode needs a root certificate: set {parameters.called('sslrootcert')}"
        case asyncpg.InvalidAuthorizationSpecificationError() if "certificate" in str(cause):
            why = one_line(str(cause), 300)
            return f"{why}: check {parameters.called('sslcert')}, and sslkey"
    return None


class _Parameters:
    """The parameters of a connection."""

    def __init__(self, dsn: str) -> None:
        self._in_url = dict(parse_qsl(urlsplit(dsn).query))

    def __getitem__(self, name: str) -> str:
        return self._in_url.get(name) or os.environ.get(f"PG{name.upper()}", "")

    def called(self, name: str) -> str:
        """Where it is set, or could be."""
        variable = f"PG{name.upper()}"
        if name in self._in_url or not os.environ.get(variable):
            return f"{name} in DATABASE_URL"
        return variable

    def unfit_file(self) -> str | None:
        """What is wrong with the first of the files that cannot be read like one."""
        for name, default in _FILES.items():
            path = self[name] or os.path.expanduser(default)  # noqa: PTH111 - there may be no home
            try:
                check_file(path, _LARGEST)
            except UnfitFile as error:
                if error.errno == errno.ENODATA and not self[name]:
                    continue  # nobody has named it, and the driver may not need it
                return f"cannot read {path} ({error.strerror}): check {self.called(name)}"
            except (OSError, ValueError):
                continue
        return None

    def faulty_file(self) -> str | None:
        """Which of the files that they name is not what it should be."""
        strict = self["sslmode"] in _STRICT
        for name in ("sslrootcert", "sslcrl") if strict else ():
            if self[name] and (fault := self._unreadable(name) or self._no_authority(name)):
                return fault
        if not self["sslcert"]:
            return None
        return self._unreadable("sslcert") or self._unreadable("sslkey") or self._no_pair()

    def _unreadable(self, name: str) -> str | None:
        try:
            if self[name]:
                open_file(self[name]).close()
        except OSError as error:
            return f"cannot read {self[name]} ({error.strerror}): check {self.called(name)}"
        return None

    def _no_authority(self, name: str) -> str | None:
        try:
            ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_verify_locations(self[name])
        except ssl.SSLError:
            return f"{self[name]} is no certificate in PEM: check {self.called(name)}"
        return None

    def _no_pair(self) -> str | None:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        # Without a password OpenSSL would ask on the terminal.
        password = self._in_url.get("sslpassword", "")
        try:
            context.load_cert_chain(self["sslcert"], self["sslkey"] or None, lambda: password)
        except ssl.SSLError:
            return (
                f"{self['sslcert']} is no certificate, or {self['sslkey'] or 'the same file'} not "
                f"its private key, in PEM: check {self.called('sslcert')} and "
                f"{self.called('sslkey')}"
            )
        return None


def _causes(error: BaseException) -> Iterator[BaseException]:
    cause: BaseException | None = error
    while cause is not None:
        yield cause
        cause = cause.__cause__


def _not_trusted(error: ssl.SSLCertVerificationError, parameters: _Parameters) -> str:
    why = error.verify_message.rstrip(".")
    if error.verify_code in _MISMATCHES:
        return (
            f"the server's certificate is for another host ({why}): connect to a name that is in "
            "it, or put this one into it"
        )
    return (
        f"the server's certificate is not trusted ({why}): check {parameters.called('sslrootcert')}"
    )


def _no_agreement(error: ssl.SSLError, parameters: _Parameters) -> str:
    why = (error.reason or "no reason given").replace("_", " ").lower()
    return (
        f"the server and this side agree on no TLS ({why}): check "
        f"{parameters.called('sslcert')}, and sslkey"
    )
