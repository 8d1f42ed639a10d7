"""TLS to PostgreSQL: libpq's parameters, and one line where it fails."""

from __future__ import annotations

import os
import socket
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

import pytest
import sqlalchemy as sa

from reconciler.core.errors import DatabaseUnfit, DatabaseUnusable
from reconciler.postgres.connection.engine import translated, using_engine
from tests.support.network.certificates import Authority, Certificate
from tests.support.network.postgres_tls import (
    CERTIFIED,
    SSL_REQUEST,
    TlsServer,
    front,
    kinds,
    tls_server,
)


@dataclass(frozen=True)
class Scene:
    server: TlsServer
    authority: Authority
    stranger: Authority
    #: Certificates of the role that needs one, by one and by the other.
    own: Certificate
    strange: Certificate
    junk: Path
    missing: Path

    def verified(self, **parameters: object) -> str:
        """The URL of a client that must show a certificate."""
        trust = {"sslmode": "verify-full", "sslrootcert": self.authority.root}
        return self.server.certified_url(**trust, **parameters)


@pytest.fixture(scope="module", params=kinds())
async def scene(
    request: pytest.FixtureRequest, postgres_url: str, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Scene]:
    folder = tmp_path_factory.mktemp("certificates")
    authority, stranger = Authority(folder), Authority(folder, "stranger")
    own, strange = (each.issue(common_name=CERTIFIED) for each in (authority, stranger))
    junk = folder / "junk"
    junk.write_text("no certificate")
    async with tls_server(request.param, postgres_url, authority) as server:
        yield Scene(server, authority, stranger, own, strange, junk, folder / "missing")


@pytest.fixture(autouse=True)
def clean(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No settings but the test's own."""
    for name in os.environ:
        if name.startswith("PGSSL"):
            monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(tmp_path))


async def user(url: str) -> object:
    async with using_engine(url) as engine:
        with translated("read"):
            async with engine.connect() as connection:
                return await connection.scalar(sa.text("SELECT current_user"))


Url: TypeAlias = Callable[[Scene], str]


@pytest.mark.parametrize(
    "url",
    [
        lambda s: s.server.url(),
        lambda s: s.server.url(sslmode="require"),
        lambda s: s.server.url(sslmode="verify-full", sslrootcert=s.authority.root),
        lambda s: s.server.url("127.0.0.1", sslmode="verify-ca", sslrootcert=s.authority.root),
    ],
    ids=["default", "require", "verify-full", "verify-ca"],
)
async def test_a_server_that_is_as_asked_for(scene: Scene, url: Url) -> None:
    assert await user(url(scene)) == scene.server.user.partition(":")[0]


async def test_a_client_with_a_certificate(scene: Scene) -> None:
    assert await user(scene.verified(sslcert=scene.own.cert, sslkey=scene.own.key)) == CERTIFIED


async def test_all_of_it_from_the_environment(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PGSSLMODE", "verify-full")
    monkeypatch.setenv("PGSSLROOTCERT", str(scene.authority.root))
    monkeypatch.setenv("PGSSLCERT", str(scene.own.cert))
    monkeypatch.setenv("PGSSLKEY", str(scene.own.key))

    assert await user(scene.server.certified_url()) == CERTIFIED


REFUSED: Mapping[str, tuple[Url, str]] = {
    "server of another authority": (
        lambda s: s.server.url(sslmode="verify-full", sslrootcert=s.stranger.root),
        r"no TLS \(self.signed certificate.*\): check sslmode, sslrootcert, sslcert and sslkey",
    ),
    "name that is not in the certificate": (
        lambda s: s.server.url("127.0.0.1", sslmode="verify-full", sslrootcert=s.authority.root),
        r"no TLS \(.*not valid for '127\.0\.0\.1'.*\): check sslmode, sslrootcert, ",
    ),
    "server without TLS": (
        lambda s: s.server.plain_url(sslmode="require"),
        r"no TLS \(.* rejected SSL upgrade\): check sslmode in DATABASE_URL",
    ),
    "no root": (
        lambda s: s.server.url(sslmode="verify-full"),
        r"root certificate file .* does not exist .*: check DATABASE_URL",
    ),
    "missing root": (
        lambda s: s.server.url(sslmode="verify-full", sslrootcert=s.missing),
        r"cannot read .*/missing \(No such file or directory\): check sslrootcert in DATABASE_URL",
    ),
    "folder for a root": (
        lambda s: s.server.url(sslmode="verify-full", sslrootcert=s.missing.parent),
        r"cannot read .* \(is a directory, not a file\): check sslrootcert in DATABASE_URL",
    ),
    "root that is no certificate": (
        lambda s: s.server.url(sslmode="verify-full", sslrootcert=s.junk),
        r"cannot read .*/junk \(.*\): check sslrootcert in DATABASE_URL",
    ),
    "no certificate": (
        lambda s: s.verified(),
        r"(?i)certificate.*: check .*(sslcert and sslkey|DATABASE_URL)",
    ),
    "missing certificate": (
        lambda s: s.verified(sslcert=s.missing, sslkey=s.own.key),
        r"cannot read .*/missing \(No such file or directory\): check sslcert in DATABASE_URL",
    ),
    "missing key": (
        lambda s: s.verified(sslcert=s.own.cert, sslkey=s.missing),
        r"cannot read .*/missing \(No such file or directory\): check sslkey in DATABASE_URL",
    ),
    "key of another": (
        lambda s: s.verified(sslcert=s.own.cert, sslkey=s.strange.key),
        r"cannot read .*\.crt \(.*mismatch.*\): check sslcert in DATABASE_URL and sslkey",
    ),
    "no key": (
        lambda s: s.verified(sslcert=s.own.cert),
        r"cannot read .*\.crt \(.*\): check sslcert in DATABASE_URL and sslkey",
    ),
}


@pytest.mark.parametrize(("url", "error"), REFUSED.values(), ids=list(REFUSED))
async def test_what_will_never_work_is_refused(scene: Scene, url: Url, error: str) -> None:
    with pytest.raises(DatabaseUnfit, match=error) as refused:
        await user(url(scene))

    assert "\n" not in str(refused.value)


async def test_a_certificate_of_another_authority(scene: Scene) -> None:
    """The server may be gone before its reason has come through."""
    strange = scene.verified(sslcert=scene.strange.cert, sslkey=scene.strange.key)

    with pytest.raises(DatabaseUnusable):
        await user(strange)


async def test_a_variable_is_named(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PGSSLROOTCERT", str(scene.missing))

    with pytest.raises(DatabaseUnfit, match=r"/missing .*: check PGSSLROOTCERT"):
        await user(scene.server.url(sslmode="require"))


class TestUnreachable:
    """The loop waits for an unreachable server, even if files that it would need are missing."""

    async def test_by_tcp(self, scene: Scene) -> None:
        url = scene.verified(sslcert=scene.own.cert, sslkey=scene.own.key)
        unreachable = url.replace(f":{scene.server.certified_port}/", ":1/")

        with pytest.raises(DatabaseUnusable, match="unreachable") as refused:
            await user(unreachable)
        assert not isinstance(refused.value, DatabaseUnfit)

    async def test_by_socket(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("PGSSLROOTCERT", str(tmp_path / "missing"))

        with pytest.raises(DatabaseUnusable, match="unreachable") as refused:
            await user(f"postgresql://postgres@/postgres?host={tmp_path}")
        assert not isinstance(refused.value, DatabaseUnfit)

    async def test_during_the_handshake(self, scene: Scene) -> None:
        """As a server that is stopping."""

        def hang_up(client: socket.socket, _: socket.socket) -> None:
            client.recv(len(SSL_REQUEST))
            client.sendall(b"S")
            client.recv(2**16)

        target = "127.0.0.1", scene.server.port
        with front(target, hang_up) as port, pytest.raises(DatabaseUnusable) as refused:
            await user(f"postgresql://u@127.0.0.1:{port}/postgres?sslmode=require")
        assert not isinstance(refused.value, DatabaseUnfit)
