"""Closings of one status, newest first, page by page; and lists that cannot serve as a feed."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from google.protobuf.message import DecodeError
from temporalio.api.enums.v1 import ResourceExhaustedCause as Cause
from temporalio.api.enums.v1 import ResourceExhaustedScope as Scope
from temporalio.api.errordetails.v1 import NamespaceNotFoundFailure, ResourceExhaustedFailure
from temporalio.api.workflow.v1 import WorkflowExecutionInfo
from temporalio.service import RPCError, RPCStatusCode

from reconciler.core.errors import FeedOff, Unusable
from reconciler.core.feed.closing import Listed, Listing
from reconciler.core.model import CloseStatus
from reconciler.temporal.client import calls as calls_module
from reconciler.temporal.client.answers import WARY
from reconciler.temporal.client.calls import HUNG_SECONDS
from reconciler.temporal.client.rate_limiter import RateLimiter
from reconciler.temporal.observe.closings import VisibilityClosings
from tests.support.factories import NOW
from tests.support.temporal.closings_stub import Store, closed
from tests.support.temporal.stubs import error, rpc

SECOND = timedelta(seconds=1)
EVERY = Listing(floor=None, size=2, pages=20)


@pytest.fixture(autouse=True)
def no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(calls_module, "THROTTLED_PAUSES", (1e-9,) * 2)


def ago(seconds: float) -> WorkflowExecutionInfo:
    """A run that completed at that age; its id is the number of seconds."""
    return closed(str(seconds), NOW - seconds * SECOND)


def since(seconds: float, size: int = 2, pages: int = 20) -> Listing:
    return Listing(NOW - seconds * SECOND, size, pages)


async def read(
    store: Store, asked: Listing = EVERY, status: CloseStatus = CloseStatus.COMPLETED
) -> Listed:
    return await VisibilityClosings(rpc(store)).read("ns", status, asked)


def ids(listed: Listed) -> list[str]:
    return [closing.run_id for closing in listed.closings]


class TestPages:
    @pytest.mark.parametrize(
        ("status", "name"),
        [
            (CloseStatus.TERMINATED, "Terminated"),
            (CloseStatus.TIMED_OUT, "TimedOut"),
            (CloseStatus.FAILED, "Failed"),
            (CloseStatus.CANCELED, "Canceled"),
            (CloseStatus.COMPLETED, "Completed"),
        ],
    )
    async def test_a_query_has_the_status_and_no_other_condition(
        self, status: CloseStatus, name: str
    ) -> None:
        store = Store(closed("run", NOW, status))

        listed = await read(store, status=status)

        (request,) = store.asked
        assert (request.query, request.namespace) == (f"ExecutionStatus = '{name}'", "ns")
        (closing,) = listed.closings
        assert (closing.workflow_id, closing.run_id) == ("of run", "run")
        assert (closing.closed_at, closing.closed_at.tzinfo) == (NOW, UTC)

    async def test_each_page_is_ten_times_the_last_up_to_the_largest_that_servers_give(
        self,
    ) -> None:
        store = Store(*map(ago, range(3000)))

        listed = await read(store, Listing(floor=None, size=20, pages=20))

        assert ids(listed) == [str(number) for number in range(3000)]
        assert listed.complete
        assert store.sizes == [20, 200, 1000, 1000, 1000]

    async def test_it_stops_at_the_first_that_closed_before_the_floor(self) -> None:
        store = Store(*map(ago, [1, 2, 3, 3, *range(4, 40)]))

        listed = await read(store, since(3))

        assert (ids(listed), listed.complete) == (["1", "2", "3", "3"], True)
        assert store.sizes == [2, 20]

    async def test_at_the_floor_itself_it_does_not_stop(self) -> None:
        """Others may have closed at the same time, and be on the next page."""
        store = Store(*map(ago, [1, 3, 3, 4, 5, 6]))

        listed = await read(store, since(3, size=2))

        assert ids(listed) == ["1", "3", "3"]

    async def test_without_the_floor_within_the_pages_it_is_incomplete(self) -> None:
        listed = await read(Store(*map(ago, range(100))), since(90, size=2, pages=2))

        assert (len(listed.closings), listed.complete) == (22, False)

    @pytest.mark.parametrize(("names_next", "calls"), [(False, 2), (True, 3)])
    async def test_the_end_is_a_page_without_a_token_on_some_servers_an_empty_one(
        self, names_next: bool, calls: int
    ) -> None:
        store = Store(*map(ago, range(22)), names_next=names_next)

        listed = await read(store)

        assert (len(listed.closings), listed.complete) == (22, True)
        assert len(store.asked) == calls

    async def test_a_status_without_closings_needs_one_call(self) -> None:
        store = Store(names_next=True)

        assert await read(store, since(5)) == Listed([], complete=True)
        assert len(store.asked) == 1

    async def test_another_namespace_is_listed_under_its_name(self) -> None:
        store = Store(ago(1))

        await VisibilityClosings(rpc(store)).read("other", CloseStatus.COMPLETED, EVERY)

        assert [request.namespace for request in store.asked] == ["other"]


class TestUnsorted:
    """Nothing but the results says how they are sorted."""

    @pytest.mark.parametrize(
        ("runs", "asked"),
        [
            pytest.param([ago(2), ago(1)], EVERY, id="in a page"),
            pytest.param([ago(2), ago(3), ago(1)], EVERY, id="between pages"),
            pytest.param([ago(9), ago(1)], since(5), id="below the floor"),
        ],
    )
    async def test_one_that_closed_after_the_one_before(
        self, runs: list[WorkflowExecutionInfo], asked: Listing
    ) -> None:
        with pytest.raises(FeedOff, match="lists run '1' of workflow 'of 1' as closed at"):
            await read(Store(*runs), asked)

    async def test_one_of_another_status(self) -> None:
        for status in ("RUNNING", "CONTINUED_AS_NEW", "FAILED"):
            with pytest.raises(FeedOff, match=f"as {status}, when asked for COMPLETED"):
                await read(Store(ago(1), closed("2", NOW - 2 * SECOND, status)))

    @pytest.mark.parametrize(
        "at",
        [None, datetime(1970, 1, 1, tzinfo=UTC), datetime(1, 1, 1, tzinfo=UTC)],
        ids=["unset", "0", "Go's zero"],
    )
    async def test_one_without_a_close_time(self, at: datetime | None) -> None:
        with pytest.raises(FeedOff, match="'wrong' of workflow 'of wrong' without a close time"):
            await read(Store(closed("wrong", at), ago(1)))

    async def test_the_reason_is_one_line_whatever_the_ids(self) -> None:
        info = ago(1)
        info.execution.workflow_id = "a\nb\x1b[2J"
        with pytest.raises(FeedOff) as off:
            await read(Store(ago(2), info))

        assert str(off.value).isprintable()


async def test_a_close_time_outside_of_the_calendar_is_left_out() -> None:
    """Its row could not be finished with it, and the others must not wait."""
    late, broken = closed("late", datetime(9999, 12, 31, tzinfo=UTC)), ago(1.5)
    broken.close_time.nanos = 2_000_000_000
    far = ago(1.5)
    far.close_time.seconds = 10**15

    listed = await read(Store(late, ago(1), broken, far, ago(2)))

    assert (ids(listed), listed.complete) == (["1", "2"], True)


def throttled(scope: Scope.ValueType) -> RPCError:
    cause = Cause.RESOURCE_EXHAUSTED_CAUSE_RPS_LIMIT
    detail = ResourceExhaustedFailure(cause=cause, scope=scope)
    return error(RPCStatusCode.RESOURCE_EXHAUSTED, detail=detail)


OF_THE_NAMESPACE = throttled(Scope.RESOURCE_EXHAUSTED_SCOPE_NAMESPACE)
OF_THE_SERVER = throttled(Scope.RESOURCE_EXHAUSTED_SCOPE_SYSTEM)
ABSENT = error(RPCStatusCode.NOT_FOUND, detail=NamespaceNotFoundFailure())
DENIED = error(RPCStatusCode.PERMISSION_DENIED, "no")
TOO_LARGE = error(RPCStatusCode.RESOURCE_EXHAUSTED, "grpc: received message larger than max")
INTERNAL = error(RPCStatusCode.INTERNAL, "bug")
REFUSALS = {
    "invalid": error(RPCStatusCode.INVALID_ARGUMENT, "bad query"),
    "unimplemented": error(RPCStatusCode.UNIMPLEMENTED, "no list"),
    "denied": DENIED,
    "unauthenticated": error(RPCStatusCode.UNAUTHENTICATED, "no"),
    "not found": error(RPCStatusCode.NOT_FOUND, "no such index"),
    "no namespace": ABSENT,
    "internal": INTERNAL,
    "undecodable": DecodeError("wrong wire type"),
    "too large": TOO_LARGE,
}
UNANSWERED = {
    "unavailable": error(RPCStatusCode.UNAVAILABLE, "store is down"),
    "too slow": error(RPCStatusCode.DEADLINE_EXCEEDED, "slow"),
    "aborted": error(RPCStatusCode.ABORTED, "text"),
    "throttled": OF_THE_NAMESPACE,
    "overloaded": OF_THE_SERVER,
}


class TestTrouble:
    @pytest.mark.parametrize("refusal", REFUSALS.values(), ids=REFUSALS)
    async def test_a_refused_list_turns_the_feed_off(self, refusal: Exception) -> None:
        store = Store(*map(ago, range(50)))
        for answered in ([], [None]):  # the first page, or the second
            store.troubles = [*answered, *[refusal] * 5]
            with pytest.raises(FeedOff, match=r"^Temporal does not list closings") as off:
                await read(store)
            assert "\n" not in str(off.value)

    @pytest.mark.parametrize("trouble", UNANSWERED.values(), ids=UNANSWERED)
    async def test_a_list_without_an_answer_does_not(self, trouble: RPCError) -> None:
        """It is tried again at the next poll."""
        store = Store(*map(ago, range(50)))
        store.troubles = [None, *[trouble] * 5]
        with pytest.raises(Unusable):
            await read(store)

    @pytest.mark.parametrize("trouble", [DENIED, ABSENT, UNANSWERED["unavailable"]])
    async def test_nor_does_a_server_that_refuses_everything(self, trouble: RPCError) -> None:
        store = Store(ago(1))
        store.troubles, store.silence = [trouble] * 5, trouble

        for namespace in ("ns", "other"):
            with pytest.raises(Unusable):
                await VisibilityClosings(rpc(store)).read(namespace, CloseStatus.COMPLETED, EVERY)

    @pytest.mark.parametrize("trouble", [INTERNAL, TOO_LARGE, DecodeError("cut off")])
    async def test_a_refused_page_is_asked_for_once_more_and_smaller(
        self, trouble: Exception
    ) -> None:
        store = Store(*map(ago, range(3000)))
        store.troubles = [None, None, trouble]

        listed = await read(store, Listing(floor=None, size=20, pages=20))

        assert ids(listed) == [str(number) for number in range(3000)]
        assert store.sizes == [20, 200, 1000, 100, 1000, 1000, 1000]

    async def test_throttling_slows_down_lists_only_and_loses_nothing(self) -> None:
        every, lists = RateLimiter(100), RateLimiter(50)
        store = Store(*map(ago, range(50)))
        store.troubles = [OF_THE_NAMESPACE, None]

        listed = await VisibilityClosings(rpc(store, every, lists)).read(
            "ns", CloseStatus.COMPLETED, Listing(floor=None, size=1000, pages=1)
        )

        assert len(listed.closings) == 50
        assert (every.rate, lists.rate < 50) == (100, True)

    async def test_lists_that_are_always_throttled_name_their_own_setting(self) -> None:
        store = Store(ago(1))
        store.troubles = [OF_THE_NAMESPACE] * 9

        with pytest.raises(Unusable, match=r"keeps throttling.*lower RECONCILER_VISIBILITY_RPS"):
            await read(store)

    async def test_a_list_that_hangs_ends_after_two_attempts_with_the_full_time_limit(self) -> None:
        """Also when a pass would give the next ones less time."""
        limits: list[timedelta] = []

        class Hanging(Store):
            async def list_workflow_executions(self, request: Any, **options: Any) -> Any:
                limits.append(options["timeout"])
                clock[0] += HUNG_SECONDS
                raise error(RPCStatusCode.DEADLINE_EXCEEDED, "context deadline exceeded")

        calls, clock = rpc(Hanging()), [1000.0]
        calls._calls.answers.clock = lambda: clock[0]
        for _ in range(WARY + 1):
            with pytest.raises(Unusable, match="visibility of namespace 'ns' cannot be used now"):
                await VisibilityClosings(calls).read("ns", CloseStatus.COMPLETED, EVERY)

        assert calls._calls.answers.is_wary("list")
        assert limits == [calls_module.RPC_TIMEOUT] * 2 * (WARY + 1)
