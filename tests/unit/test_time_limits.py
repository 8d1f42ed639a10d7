"""The time limits keep what README and docs promise; tests on real servers may cut them short."""

from __future__ import annotations

from datetime import timedelta

from reconciler.app.lease import (
    CLAIM_AGAIN,
    CLAIM_EVERY,
    CLAIM_TIMEOUT,
    LEASE_TIME,
    MARGIN,
    RELEASE_TIMEOUT,
)
from reconciler.daemon.loop import DRAIN_TIMEOUT, STOP_TIMEOUT
from reconciler.postgres.connection import engine
from reconciler.temporal.client import calls, connect
from reconciler.worker import reporter, writer


def test_another_replica_takes_over_within_thirty_seconds_of_a_death() -> None:
    assert LEASE_TIME.total_seconds() + CLAIM_EVERY + CLAIM_TIMEOUT <= 30


def test_another_replica_takes_over_within_five_seconds_of_an_end() -> None:
    assert CLAIM_EVERY <= 5


def test_a_lease_outlives_a_claim_that_fails_and_another_one() -> None:
    a_turn = CLAIM_EVERY + CLAIM_TIMEOUT
    assert a_turn + CLAIM_AGAIN < LEASE_TIME.total_seconds() - MARGIN


def test_it_stops_within_ten_seconds_and_has_the_time_to_write_and_to_give_the_lease_up() -> None:
    assert DRAIN_TIMEOUT + RELEASE_TIMEOUT < STOP_TIMEOUT < 10


def test_everything_that_waits_for_a_server_has_the_limit_that_is_documented() -> None:
    assert CLAIM_TIMEOUT == 5
    assert calls.RPC_TIMEOUT == connect.CONNECT_TIMEOUT == timedelta(seconds=10)
    assert engine.CONNECT_TIMEOUT == 10
    assert engine.STATEMENT_TIMEOUT == 30_000
    assert engine.COMMAND_TIMEOUT == 60


def test_what_goes_wrong_in_an_attempt_is_told_before_its_time_is_up() -> None:
    closing = timedelta(seconds=2)  # what SQLAlchemy grants a connection that does not answer

    assert timedelta(seconds=writer.WRITE_TIMEOUT) + closing < reporter.ATTEMPT
    assert writer.LOCK_TIMEOUT < writer.WRITE_TIMEOUT * 1000
