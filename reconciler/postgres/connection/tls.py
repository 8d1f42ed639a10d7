"""TLS to PostgreSQL: which file or parameter keeps it from working.

The driver takes `sslmode`, `sslrootcert`, `sslcert`, `sslkey` and the like from the URL, or from
libpq's variables. Its error for a missing file does not name it, and looks like that of an
unreachable server, for which a loop would wait.
"""

from __future__ import annotations

import errno
import os
import ssl
from collections.abc import Iterator
from configparser import ConfigParser
from configparser import Error as ConfigError
from contextlib import suppress
from urllib.parse import parse_qsl, urlsplit

from reconciler.core.errors import DatabaseUnfit
from reconciler.host.files import UnfitFile, check_file, open_file

#: The files that the driver reads, and their default paths.
_FILES = {
    "sslrootcert": "~/.postgresql/root.crt",
    "sslcrl": "~/.postgresql/root.crl",
    "sslkey": "~/.postgresql/postgresql.key",
    "sslcert": "~/.postgresql/postgresql.crt",
    "servicefile": "~/.pg_service.conf",
}
#: The largest size of a file, in bytes: lists of revoked certificates are long.
_LARGEST = 64 * 1024 * 1024
#: With these, the server's certificate is verified if there is a root certificate.
_STRICT = ("require", "verify-ca", "verify-full")
#: Raised for a TLS file or for a Unix socket.
_NO_FILE = (FileNotFoundError, PermissionError, IsADirectoryError, NotADirectoryError)


def check_files(dsn: str) -> None:
    """Check that the files of a connection can be read without blocking.

    Raises `DatabaseUnfit`. Missing files are left to the driver: it may not need them.
    """
    for name, default in _FILES.items():
        given, setting = _parameter(dsn, name)
        path = given or os.path.expanduser(default)  # noqa: PTH111 - there may be no home
        try:
            check_file(path, _LARGEST)
        except UnfitFile as error:
            if given or error.errno != errno.ENODATA:  # an empty default file is ignored
                raise _unreadable(path, error, setting) from None
        except (OSError, ValueError):
            continue
    _check_service(dsn)


def _check_service(dsn: str) -> None:
    """Check that a service is defined: without one, the driver would connect to this host."""
    if not (service := dict(parse_qsl(urlsplit(dsn).query)).get("service")):
        return
    path = _parameter(dsn, "servicefile")[0] or os.path.expanduser(_FILES["servicefile"])  # noqa: PTH111
    services = ConfigParser()
    with suppress(ConfigError, OSError, ValueError):
        services.read(path)
    if not services.has_section(service):
        problem = f"cannot connect to the database: {path} defines no service {service}"
        raise DatabaseUnfit(problem, "check service in DATABASE_URL, and PGSERVICEFILE")


def explain_tls_error(error: BaseException | None, dsn: str) -> DatabaseUnfit | None:
    """Why TLS with these settings can never work, if so. Contains no secret."""
    while error is not None:
        if isinstance(error, (ssl.SSLError, *_NO_FILE)):
            if fault := next(_unusable_files(dsn), None):
                return fault
            if isinstance(error, ssl.SSLError):
                why = getattr(error, "verify_message", "") or error.reason
                return _no_tls(why, "sslmode, sslrootcert, sslcert and sslkey")
        if "rejected SSL upgrade" in str(error):
            return _no_tls(error, _parameter(dsn, "sslmode")[1])
        error = error.__cause__
    return None


def _unusable_files(dsn: str) -> Iterator[DatabaseUnfit]:
    """An error for each file that is set and needed, but cannot be read or loaded."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    roots = ("sslrootcert", "sslcrl") if _parameter(dsn, "sslmode")[0] in _STRICT else ()
    key, password = _parameter(dsn, "sslkey")[0], _parameter(dsn, "sslpassword")[0]
    for name in (*roots, "sslkey", "sslcert"):
        path, setting = _parameter(dsn, name)
        try:
            if path:
                open_file(path).close()
            if path and name == "sslcert":
                setting += " and sslkey"
                # Without a password OpenSSL would ask for one on the terminal.
                context.load_cert_chain(path, key or None, lambda: password)
            elif path and name in roots:
                context.load_verify_locations(path)
        except OSError as error:  # OpenSSL's among them
            yield _unreadable(path, error, setting)


def _parameter(dsn: str, name: str) -> tuple[str, str]:
    """The value of a parameter, and where it is set or could be."""
    variable = f"PG{name.upper()}"
    in_url = dict(parse_qsl(urlsplit(dsn).query)).get(name)
    if in_url or not os.environ.get(variable):
        return in_url or "", f"{name} in DATABASE_URL"
    return os.environ[variable], variable


def _unreadable(path: str, error: OSError, setting: str) -> DatabaseUnfit:
    problem = f"cannot connect to the database: cannot read {path} ({error.strerror})"
    return DatabaseUnfit(problem, f"check {setting}")


def _no_tls(why: object, settings: str) -> DatabaseUnfit:
    return DatabaseUnfit(f"cannot connect to the database: no TLS ({why})", f"check {settings}")
