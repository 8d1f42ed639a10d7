"""The time limits keep what README and docs promise; tests with real servers shorten them."""

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
from reconciler.app.overview import kept, patience
from reconciler.app.overview import rows as row_pages
from reconciler.daemon.health import CHECK_TIMEOUT
from reconciler.daemon.loop import DRAIN_TIMEOUT
from reconciler.host.service import STOP_TIMEOUT
from reconciler.postgres.connection import engine, queries
from reconciler.temporal.client import calls, connect
from reconciler.worker import reporter
from reconciler.worker.database import writer


def test_another_replica_takes_over_within_thirty_seconds_of_a_death() -> None:
    assert LEASE_TIME.total_seconds() + CLAIM_EVERY + CLAIM_TIMEOUT <= 30


def test_another_replica_takes_over_within_five_seconds_of_a_stop() -> None:
    assert CLAIM_EVERY <= 5


def test_a_lease_outlives_a_failed_claim_and_its_retry() -> None:
    failed_claim = CLAIM_EVERY + CLAIM_TIMEOUT
    assert failed_claim + CLAIM_AGAIN < LEASE_TIME.total_seconds() - MARGIN


def test_a_stop_within_ten_seconds_leaves_time_to_write_and_to_release_the_lease() -> None:
    assert DRAIN_TIMEOUT + RELEASE_TIMEOUT < STOP_TIMEOUT < 10


def test_calls_to_servers_have_the_documented_timeouts() -> None:
    assert CLAIM_TIMEOUT == 5
    assert calls.RPC_TIMEOUT == connect.CONNECT_TIMEOUT == timedelta(seconds=10)
    assert engine.CONNECT_TIMEOUT == 10
    assert engine.STATEMENT_TIMEOUT == 30_000
    assert engine.COMMAND_TIMEOUT == 60


def test_views_of_the_page_have_the_documented_limits() -> None:
    assert (kept.CURRENT, kept.LONGEST) == (2, 60)
    assert kept.PER_SECOND == 1 / 0.02
    assert queries.QUICK == 2_000
    assert (row_pages.CURRENT, row_pages.AT_ONCE) == (5, 4)
    assert CHECK_TIMEOUT < patience.PATIENCE == 3


def test_an_attempt_reports_its_error_before_it_times_out() -> None:
    closing = timedelta(
        seconds=2
    )  # SQLAlchemy's limit for closing a connection that does not answer

    assert timedelta(seconds=writer.WRITE_TIMEOUT) + closing < reporter.ATTEMPT
    assert writer.LOCK_TIMEOUT < writer.WRITE_TIMEOUT * 1000
