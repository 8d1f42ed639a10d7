"""`reconciler run`: what it does when all is well, and how it stops."""

from __future__ import annotations

import asyncio
import contextlib
import signal
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from uuid import uuid4

import httpx
import pytest

from tests.conftest import Database, with_user
from tests.support.commands.command import Command
from tests.support.commands.daemon import Daemon, daemon
from tests.support.holding import PATIENT
from tests.support.polling import PATIENCE, eventually
from tests.support.servers.ports import free_port
from tests.support.temporal.world import World


async def closed_row(database: Database, world: World, script: str = "fail") -> int:
    row = await world.ended(await world.start(script, "no money"))
    return await database.insert(world.workflow_id, row.run_id)


async def is_written(database: Database, id_: int) -> bool:
    return (await database.row(id_))["status"] != "running"


GIVING_UP = "write_given_up"
#: For what passes do by themselves.
NO_FEED = {"RECONCILER_FEED_INTERVAL": "0"}
#: For one that is to be waited for until it is asked again.
SLOW_TO_STOP = {
    "reconciler.daemon.loop.DRAIN_TIMEOUT": 600,
    "reconciler.host.service.STOP_TIMEOUT": 600,
    "reconciler.host.cancellation.GIVE_UP": 600,
    "reconciler.passes.lifecycle.GIVE_UP": 600,
    **PATIENT,
}


@contextlib.asynccontextmanager
async def writing_for_ever(
    reconciler: Command, database: Database, world: World
) -> AsyncIterator[Daemon]:
    """A loop whose write does not come to its end."""
    await closed_row(database, world)
    await database.execute(
        "CREATE FUNCTION dawdle() RETURNS trigger LANGUAGE plpgsql"
        " AS $$ BEGIN PERFORM pg_sleep(600); RETURN new; END $$;"
        "CREATE TRIGGER dawdle BEFORE UPDATE ON workflow_executions"
        " FOR EACH ROW EXECUTE FUNCTION dawdle()"
    )

    async def writing() -> bool:
        return bool(
            await database.fetch("SELECT FROM pg_stat_activity WHERE wait_event = 'PgSleep'")
        )

    async with daemon(replace(reconciler, limits=SLOW_TO_STOP)) as running:
        await eventually(writing)
        yield running


async def test_rows_are_written_logged_and_counted(
    reconciler: Command, database: Database, world: World
) -> None:
    id_ = await closed_row(database, world)
    async with daemon(reconciler, **NO_FEED) as running:
        line = await running.said("row_finished")
        finished = await running.said("pass_finished")
        await eventually(running.holds)
        missed = await running.metric(
            "reconciler_missed_writes_total", workflow_type="Scripted", status="FAILED"
        )

    row = await database.row(id_)
    (first, *_) = await database.fetch("SELECT * FROM reconciler.passes ORDER BY started_at")
    assert row["status"] == "failed"
    assert (
        line.items()
        >= {
            "workflow_id": world.workflow_id,
            "run_id": row["run_id"],
            "old": "running",
            "new": "failed",
            "why": "OrderFailed: no money",
            "closed": (await world.close_time()).isoformat(),
            "pass_id": str(first["id"]),
        }.items()
    )
    assert finished.items() >= {"pass_id": line["pass_id"], "written": {"failed": 1}}.items()
    assert (first["mode"], first["outcome"], first["namespace"]) == ("run", "ok", "default")
    assert first["table_name"] == "workflow_executions"
    assert missed == 1


async def test_a_pass_that_changes_nothing_is_not_worth_a_line(
    reconciler: Command, database: Database
) -> None:
    async def passed_thrice() -> bool:
        return len(await database.fetch("SELECT FROM reconciler.passes WHERE outcome = 'ok'")) > 2

    async with daemon(reconciler) as running:
        await eventually(passed_thrice)

    assert running.logged("pass_finished") == []


async def test_the_first_pass_does_not_wait_for_its_time(
    reconciler: Command, database: Database, world: World
) -> None:
    id_ = await closed_row(database, world)
    async with daemon(reconciler, "--cron", "0 3 1 1 *", **NO_FEED):
        await eventually(lambda: is_written(database, id_))


async def test_the_next_pass_comes_within_the_interval(
    reconciler: Command, database: Database, world: World
) -> None:
    async with daemon(reconciler, **NO_FEED) as running:
        await eventually(running.ready)
        id_ = await closed_row(database, world)
        await eventually(lambda: is_written(database, id_))


async def test_passes_longer_than_the_interval_are_logged_and_do_not_pile_up(
    reconciler: Command, database: Database
) -> None:
    await database.insert_many(30, "never-started", None)
    async with daemon(
        reconciler, RECONCILER_MAX_RPS="20", RECONCILER_FULL_SWEEP_INTERVAL="0"
    ) as running:
        event = "pass_overran"
        assert (await running.said(event))["rows"] == 30

        async def twice() -> bool:
            return len(running.logged(event)) > 1

        await eventually(twice)
        assert (await running.metric("reconciler_pass_overruns_total") or 0) >= 2

    at_once = (
        "SELECT FROM reconciler.passes a JOIN reconciler.passes b ON a.id < b.id"
        " AND (a.started_at, a.finished_at) OVERLAPS (b.started_at, b.finished_at)"
    )
    assert await database.fetch(at_once) == []


class TestStopping:
    @pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
    async def test_at_rest(
        self, reconciler: Command, database: Database, number: signal.Signals
    ) -> None:
        async with daemon(reconciler) as running:
            await eventually(running.ready)
            running.send(number)

            assert await running.ended() == 0
            assert await running.said("stopped")
        (lease,) = await database.fetch(
            "SELECT expires_at <= now() AS free, epoch FROM reconciler.lease"
        )
        assert lease == {"free": True, "epoch": 1}

    async def test_in_the_middle_of_a_long_pass(
        self, reconciler: Command, database: Database, world: World
    ) -> None:
        rows = 50_000
        row = await world.ended(await world.start("complete"))
        await database.insert_many(rows, row.workflow_id, row.run_id)
        async with daemon(reconciler, RECONCILER_MAX_RPS="1000") as running:
            await running.said("row_finished")
            running.send(signal.SIGTERM)

            assert await running.ended() == 0

        assert [line for line in running.lines if line["level"] not in ("info", "debug")] == []
        written = len(running.logged("row_finished"))
        (count,) = await database.fetch(
            "SELECT count(*) AS n FROM workflow_executions WHERE status = 'completed'"
        )
        (kept,) = await database.fetch(
            "SELECT outcome, error, (report -> 'written' ->> 'completed')::int AS written"
            " FROM reconciler.passes"
        )
        assert 0 < written < rows
        assert count["n"] == written == kept["written"]
        assert (kept["outcome"], kept["error"]) == ("aborted", "stopped before its end")

    async def test_a_second_time_it_gives_up_its_write_and_records_the_pass(
        self, reconciler: Command, database: Database, world: World
    ) -> None:
        async with writing_for_ever(reconciler, database, world) as running:
            running.send(signal.SIGTERM)
            await running.said("stopping")
            running.send(signal.SIGTERM)

            assert await running.said(GIVING_UP)
            assert await running.ended() == 0
        (kept,) = await database.fetch("SELECT outcome, error FROM reconciler.passes")
        (lease,) = await database.fetch("SELECT expires_at <= now() AS free FROM reconciler.lease")
        assert kept == {"outcome": "aborted", "error": "stopped before its end"}
        assert lease["free"]

    async def test_a_third_time_it_ends_at_once(
        self, reconciler: Command, database: Database, world: World
    ) -> None:
        async with (
            writing_for_ever(reconciler, database, world) as running,
            database.pool.acquire() as holder,
            holder.transaction(),
        ):
            await holder.execute("LOCK TABLE reconciler.passes")  # its end cannot be recorded
            for answer in ("stopping", GIVING_UP):
                running.send(signal.SIGTERM)
                await running.said(answer)
            running.send(signal.SIGTERM)

            assert await running.ended() == 128 + signal.SIGTERM

    async def test_while_it_is_being_loaded(self, reconciler: Command) -> None:
        process = await replace(reconciler, fresh=True).start("run")
        await eventually(lambda: is_being_loaded(process.pid))
        process.send_signal(signal.SIGTERM)
        result = await reconciler.result(process)

        assert (result.code, "Traceback" in result.err) == (0, False)

    async def test_while_the_name_service_is_silent(
        self, reconciler: Command, tmp_path: Path
    ) -> None:
        asked = tmp_path / "asked"
        (tmp_path / "sitecustomize.py").write_text(SILENT_NAME_SERVICE.format(str(asked)))
        url = "postgresql://u@silent.invalid/d"
        fresh = replace(reconciler, fresh=True)
        async with daemon(fresh, PYTHONPATH=str(tmp_path), DATABASE_URL=url) as running:

            async def is_asked() -> bool:
                return asked.exists()

            await eventually(is_asked)
            running.send(signal.SIGTERM)

            assert await running.ended() == 0

    async def test_before_it_has_begun(self, reconciler: Command) -> None:
        async with daemon(reconciler, TEMPORAL_ADDRESS="127.0.0.1:1") as running:
            await running.said("server_unusable")
            for number in (signal.SIGTERM, signal.SIGINT):
                running.send(number)

            assert await running.ended() == 0
        assert running.logged(GIVING_UP) == [], "there was no write"


#: Loaded by Python itself. A thread that waits for an answer cannot be stopped by anybody.
SILENT_NAME_SERVICE = """
import pathlib, socket, time
known = socket.getaddrinfo
def getaddrinfo(host, *arguments, **options):
    if host == "silent.invalid":
        pathlib.Path({!r}).touch()
        time.sleep(1000)
    return known(host, *arguments, **options)
socket.getaddrinfo = getaddrinfo
"""


async def is_being_loaded(pid: int) -> bool:
    """Whether it handles SIGTERM, which Python by itself does not: it can be stopped now."""
    status = Path(f"/proc/{pid}/status").read_text()
    caught = int(status.partition("SigCgt:")[2].split()[0], 16)
    return bool(caught & 1 << (signal.SIGTERM - 1))


class TestHttp:
    async def test_garbage_changes_nothing(self, reconciler: Command) -> None:
        async with daemon(reconciler, RECONCILER_INTERVAL="1h") as running:
            await eventually(running.ready)
            before = len(running.lines)
            port = (await running.said("http_listening"))["port"]
            await asyncio.gather(*(throw(port, garbage) for garbage in GARBAGE * 20))

            assert (await running.get("/livez")).text == "ok\n"
            assert (await running.get("/readyz")).status_code == 200
            assert running.lines[before:] == [], "a scanner must not fill the log"
            assert await running.stop() == 0

    async def test_it_listens_on_loopback_by_default(self, reconciler: Command) -> None:
        async with daemon(reconciler) as running:
            assert (await running.said("http_listening"))["host"] == "127.0.0.1"
        async with daemon(reconciler, RECONCILER_HTTP_HOST="0.0.0.0") as running:
            assert (await running.said("http_listening"))["host"] == "0.0.0.0"
        async with daemon(reconciler, RECONCILER_HTTP_HOST="::") as running:
            assert (await running.get("/livez")).text == "ok\n", "by IPv4 too"


GARBAGE = (
    b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(range(256)),
    b"GET /" + b"a" * 100_000 + b" HTTP/1.1\r\n\r\n",
    b"POST /metrics HTTP/1.1\r\nHost: x\r\nContent-Length: 99999999\r\n\r\n" + b"x" * 1000,
    b"GET /livez HTTP/9.9\r\n\r\n",
    b"\r\n\r\n\r\n",
    b"GET /livez HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nZZ\r\n",
    b"GET /../../etc/passwd HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n",
)


async def throw(port: int, garbage: bytes) -> None:
    """At the port, and see whatever comes back; the connection may be reset meanwhile."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        writer.write(garbage)
        writer.write_eof()
        await asyncio.wait_for(reader.read(), PATIENCE)
    except ConnectionError:
        pass
    finally:
        writer.close()


class TestServersThatAreAwayAtTheStart:
    @pytest.mark.parametrize(
        ("variable", "value", "message"),
        [
            ("TEMPORAL_ADDRESS", "127.0.0.1:1", "Temporal at 127.0.0.1:1 is unreachable"),
            ("DATABASE_URL", "postgresql://u:s3cret@127.0.0.1:1/d", "database is unreachable"),
            ("TEMPORAL_ADDRESS", "no-such-host.invalid:7233", "is unreachable"),
        ],
        ids=["Temporal", "PostgreSQL", "name service"],
    )
    async def test_are_waited_for(
        self, reconciler: Command, variable: str, value: str, message: str
    ) -> None:
        async with daemon(reconciler, **{variable: value}) as running:
            line = await running.said("server_unusable")
            assert message in line["error"]
            assert line["retry_in"] > 0
            assert (await running.get("/livez")).status_code == 200
            readyz = await running.get("/readyz")
            assert (readyz.status_code, readyz.json()["role"]) == (503, "starting")
            assert message in readyz.json()["why"]
            assert "s3cret" not in readyz.text
            assert (await running.get("/metrics")).status_code == 200
            assert await running.stop() == 0
        assert "s3cret" not in str(running.lines)


class TestRefused:
    """One line, and the exit code that says whose fault it is; nothing is waited for."""

    @pytest.mark.parametrize(
        ("arguments", "variables", "code", "message"),
        [
            pytest.param(
                [],
                {"RECONCILER_INTERVAL": "0"},
                2,
                "RECONCILER_INTERVAL: must be at least 1s and at most 365d (it is '0')",
                id="interval",
            ),
            pytest.param([], {"RECONCILER_INTERVAL": "400d"}, 2, "at most 365d", id="for ever"),
            pytest.param(
                [],
                {"DATABASE_URL": "postgresql://u@127.0.0.1:1/d?sslmode=bogus"},
                2,
                "sslmode",
                id="sslmode",
            ),
            pytest.param(
                [],
                {"DATABASE_URL": "postgresql://u@127.0.0.1:1/d", "PGSSLMODE": "verify-ca"}
                | {"PGSSLROOTCERT": "/nowhere/root.crt"},
                4,
                "cannot read /nowhere/root.crt (No such file or directory): check PGSSLROOTCERT",
                id="root certificate",
            ),
            pytest.param(["--cron", "99 * * * *"], {}, 2, "--cron '99 * * * *': bad m", id="cron"),
            pytest.param([], {"RECONCILER_HTTP_PORT": "99999"}, 2, "HTTP_PORT", id="no such port"),
            pytest.param(
                [],
                {"RECONCILER_HTTP_HOST": "no-such-host.invalid"},
                2,
                "set RECONCILER_HTTP_HOST",
                id="no such host",
            ),
            pytest.param([], {"TEMPORAL_ADDRESS": ""}, 2, "TEMPORAL_ADDRESS", id="no Temporal"),
            pytest.param(
                [], {"TEMPORAL_NAMESPACE": "nowhere"}, 4, "set TEMPORAL_NAMESPACE", id="namespace"
            ),
            pytest.param(
                [], {"RECONCILER_TABLE": "nowhere"}, 4, "set RECONCILER_TABLE", id="table"
            ),
        ],
    )
    async def test_settings(
        self,
        reconciler: Command,
        arguments: list[str],
        variables: dict[str, str],
        code: int,
        message: str,
    ) -> None:
        async with daemon(reconciler, *arguments, **variables) as running:
            assert await running.ended() == code
        assert_one_line(running, message)

    async def test_a_port_in_use(self, reconciler: Command) -> None:
        async with daemon(reconciler) as first:
            port = (await first.said("http_listening"))["port"]
            async with daemon(reconciler, RECONCILER_HTTP_PORT=str(port)) as second:
                assert await second.ended() == 2
            assert_one_line(second, f"port {port} (Address already in use): set RECONCILER_HTTP_")

    @pytest.mark.parametrize(
        ("revision", "message"),
        [
            ("0002", "is at revision 0002, this version needs 0007: run `reconciler migrate`"),
            ("9999", "is at revision 9999, this version knows none after 0007"),
        ],
        ids=["behind", "ahead"],
    )
    async def test_a_schema_of_another_version(
        self, reconciler: Command, database: Database, revision: str, message: str
    ) -> None:
        await database.execute(f"UPDATE reconciler.alembic_version SET version_num = '{revision}'")
        async with daemon(reconciler) as running:
            assert await running.ended() == 4
        assert_one_line(running, message)

    async def test_a_lease_that_may_not_be_written(
        self, reconciler: Command, database: Database
    ) -> None:
        role = f"passer_{uuid4().hex[:8]}"
        await database.execute(
            f"CREATE ROLE {role} LOGIN;"
            f"GRANT SELECT, UPDATE ON workflow_executions TO {role};"
            f"GRANT USAGE ON SCHEMA reconciler TO {role};"
            f"GRANT SELECT ON ALL TABLES IN SCHEMA reconciler TO {role};"
            f"GRANT INSERT, DELETE ON reconciler.changes TO {role};"
            f"GRANT INSERT, UPDATE, DELETE ON reconciler.passes TO {role};"
            f"GRANT INSERT, UPDATE, DELETE ON reconciler.stuck, reconciler.at_risk TO {role}"
        )
        url = with_user(database.url, role)
        try:
            once = await reconciler("once", DATABASE_URL=url)
            async with daemon(reconciler, DATABASE_URL=url) as running:
                assert await running.ended() == 4
        finally:
            await database.execute(f"DROP OWNED BY {role}; DROP ROLE {role}")

        assert once.code == 0, once.err
        assert_one_line(
            running,
            f"GRANT INSERT ON reconciler.lease TO {role}; "
            f"GRANT UPDATE ON reconciler.lease TO {role}; "
            f"GRANT INSERT ON reconciler.closings TO {role}; "
            f"GRANT UPDATE ON reconciler.closings TO {role}; "
            f"GRANT DELETE ON reconciler.closings TO {role}",
        )


def assert_one_line(running: Daemon, message: str) -> None:
    """Besides what the log has said."""
    (refusal,) = [line["event"] for line in running.lines if "timestamp" not in line]
    assert refusal.startswith("reconciler: ")
    assert message in refusal


async def test_probes_of_a_dead_port_are_refused(reconciler: Command) -> None:
    port = str(free_port())  # one of those that nobody is given meanwhile
    async with daemon(reconciler, RECONCILER_HTTP_PORT=port) as running:
        await eventually(running.ready)
        assert await running.stop() == 0
        with pytest.raises(httpx.ConnectError):
            await running.get("/livez")
