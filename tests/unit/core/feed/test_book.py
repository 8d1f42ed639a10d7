from __future__ import annotations

from datetime import timedelta

import pytest

from reconciler.core.feed.book import Book
from reconciler.core.feed.closing import Listing
from reconciler.core.feed.ended import Ended, LookEnd, WaitUntil
from reconciler.core.model import CloseStatus
from tests.support.closings import Visibility, closing
from tests.support.factories import NOW

GRACE = timedelta(seconds=60)
COMPLETED, FAILED = CloseStatus.COMPLETED, CloseStatus.FAILED


def at(seconds: float) -> timedelta:
    return timedelta(seconds=seconds)


def resumed(mark: float = 0, **more: float) -> Book:
    """A book of which every status has a mark."""
    marks = dict.fromkeys(CloseStatus, NOW + at(mark))
    marks |= {CloseStatus(status): NOW + at(seconds) for status, seconds in more.items()}
    return Book(marks, NOW, GRACE)


def regular(visibility: Visibility) -> Book:
    """A book that has read as far as it should, at NOW, and has nothing to look up."""
    book = resumed()
    visibility.poll(book, 0)
    look_up(book, 0)
    return book


def look_up(book: Book, seconds: float, *hits: str) -> list[str]:
    """Look up what is due, of which `hits` have a running row; what was due."""
    now = NOW + at(seconds)
    due = book.due(now)
    book.looked_up(due, [each for each in due if each.workflow_id in hits], now)
    return [each.workflow_id for each in due]


def settle(book: Book, seconds: float, end: LookEnd, workflow_id: str = "wf") -> None:
    now = NOW + at(seconds)
    [due] = [each for each in book.due(now) if each.workflow_id == workflow_id]
    book.looked_up([due], [due], now)
    book.settled(due, end, now)


class TestMarks:
    def test_a_cold_start_takes_the_newest_close_time_of_each_status(self) -> None:
        visibility, book = Visibility(), Book({}, NOW, GRACE)
        visibility.show(*(closing(-seconds) for seconds in range(9, 1000)))

        assert set(book.listings(NOW).values()) == {Listing(None, 1, 1)}
        visibility.poll(book, 0)

        look_up(book, 0)
        assert book.marks() == {COMPLETED: NOW - at(9)}
        assert not book.is_behind

    def test_after_a_cold_start_closings_before_the_mark_may_be_shown_late(self) -> None:
        visibility, book = Visibility(), Book({}, NOW, GRACE)
        visibility.show(closing(-1, "newest"), closing(-400, "old"))
        visibility.poll(book, 0)

        visibility.show(closing(-290, "late"))

        assert set(visibility.poll(book, 1)) == {"late", "newest"}

    def test_after_a_cold_start_closings_are_listed_whose_rows_were_too_young(self) -> None:
        visibility, book = Visibility(), Book({}, NOW, grace=at(900))
        visibility.show(closing(-1, "newest"), closing(-880, "young"))
        visibility.poll(book, 0)

        assert set(visibility.poll(book, 1)) == {"young", "newest"}

    def test_closings_of_a_status_that_had_none_are_all_listed(self) -> None:
        visibility, book = Visibility(), Book({}, NOW, GRACE)
        visibility.poll(book, 0)
        assert book.marks() == {}

        visibility.show(*(closing(n / 10, f"wf-{n}") for n in range(2000)))

        assert len(visibility.poll(book, 200)) == 2000

    def test_a_process_that_resumes_lists_five_minutes_before_the_marks(self) -> None:
        visibility = Visibility()
        visibility.show(closing(-301, "before"), closing(-299, "late"), closing(30, "since"))

        assert visibility.poll(resumed(), 60) == ["late", "since"]

    def test_a_process_that_resumes_lists_all_of_a_status_that_had_no_closings(self) -> None:
        visibility, book = Visibility(), Book({COMPLETED: NOW}, NOW, GRACE)
        visibility.show(closing(-9999, "failed"), status=FAILED)

        assert visibility.poll(book, 1) == ["failed"]

    def test_nothing_that_needs_a_look_is_above_the_mark_of_its_status(self) -> None:
        visibility = Visibility()
        book = regular(visibility)
        visibility.show(closing(1, "first"), closing(2, "second"))
        visibility.show(closing(3, "failed"), status=FAILED)
        visibility.poll(book, 5)
        assert book.marks() == dict.fromkeys(CloseStatus, NOW) | {
            COMPLETED: NOW + at(1),
            FAILED: NOW + at(3),
        }

        look_up(book, 5, "second")
        assert book.marks()[COMPLETED] == NOW + at(2)

        visibility.show(closing(7, "third"))
        visibility.poll(book, 10)
        settle(book, 10, Ended.TRY_AGAIN, "second")
        assert book.marks()[COMPLETED] == NOW + at(2)

        settle(book, 20, Ended.WRITTEN, "second")
        look_up(book, 20)
        assert book.marks()[COMPLETED] == NOW + at(7)

    def test_a_close_time_in_the_future_moves_the_mark_to_two_seconds_from_now(self) -> None:
        visibility = Visibility()
        book = regular(visibility)
        visibility.show(closing(9999, "future"))

        assert visibility.poll(book, 5) == ["future"]
        look_up(book, 5)
        assert book.marks()[COMPLETED] == NOW + at(7)

        visibility.show(closing(6, "next"))
        assert visibility.poll(book, 9) == ["next"]

    @pytest.mark.parametrize("skew", [-3600, 3600])
    def test_the_clock_of_temporal_is_measured(self, skew: float) -> None:
        visibility, book = Visibility(), resumed(skew)
        visibility.poll(book, 0)
        for second in range(1, 10):
            visibility.show(closing(skew + second, f"wf-{second}"))
            visibility.poll(book, second)
        assert book.skew == at(skew)

        visibility.show(closing(99999))
        visibility.poll(book, 10)
        look_up(book, 10)
        assert book.marks()[COMPLETED] == NOW + at(10 + skew + 2)

    def test_a_closing_that_is_shown_late_does_not_move_the_mark_back(self) -> None:
        visibility = Visibility()
        book = regular(visibility)
        visibility.show(closing(-3))
        visibility.poll(book, 1)
        settle(book, 1, Ended.WRITTEN)

        assert book.marks()[COMPLETED] == NOW


class TestLateness:
    def test_is_how_far_below_the_mark_a_closing_is_shown(self) -> None:
        visibility = Visibility()
        book = regular(visibility)
        visibility.show(closing(-4))
        visibility.poll(book, 1)
        assert book.lateness == at(4)

        assert book.listings(NOW + at(2))[COMPLETED].floor == NOW - at(8)

    def test_is_not_that_of_closings_that_were_never_listed_before(self) -> None:
        visibility = Visibility()
        visibility.show(closing(-590, "deep"), closing(-9, "resumed"))
        book = resumed()

        assert visibility.poll(book, 0) == ["resumed"]
        book.looked_up(book.due(NOW), (), NOW)
        assert "deep" in visibility.poll(book, 300)
        assert book.lateness == at(0)

        visibility.show(closing(-580, "late"))
        visibility.poll(book, 600)
        assert book.lateness == at(580)

    def test_is_known_of_a_status_that_had_no_closings(self) -> None:
        visibility, book = Visibility(), Book({}, NOW, GRACE)
        visibility.poll(book, 0)
        visibility.show(closing(5))
        visibility.poll(book, 6)
        visibility.show(closing(1))
        visibility.poll(book, 7)

        assert book.lateness == at(4)


class TestLists:
    def test_a_closing_is_due_once_however_often_it_is_listed(self) -> None:
        visibility = Visibility()
        book = regular(visibility)
        visibility.show(closing(1, "a"), closing(1, "b"), closing(2, "c"))

        assert visibility.poll(book, 2) == ["a", "b", "c"]
        for each in "abc":
            settle(book, 2, Ended.WRITTEN, each)

        assert not any(visibility.poll(book, second) for second in range(3, 1000))

    def test_a_closing_with_the_close_time_of_the_mark_is_found(self) -> None:
        visibility = Visibility()
        book = regular(visibility)
        visibility.show(closing(1, "a"))
        visibility.poll(book, 2)
        look_up(book, 2)

        visibility.show(closing(1, "b"))

        assert visibility.poll(book, 3) == ["b"]

    def test_the_first_page_holds_what_a_poll_lists_at_the_present_rate(self) -> None:
        visibility = Visibility()
        book = regular(visibility)
        for poll in range(1, 4):
            visibility.show(*(closing(poll + n / 100, f"wf-{poll}-{n}") for n in range(100)))
            visibility.poll(book, poll)
        look_up(book, 3)

        # 5 seconds of overlap
        assert book.listings(NOW + at(4))[COMPLETED].size == 300 * 5 // 4
        assert book.listings(NOW + at(4))[FAILED].size == 20

    def test_the_first_page_of_a_deeper_poll_holds_what_was_seen_within_its_overlap(self) -> None:
        visibility = Visibility()
        book = regular(visibility)
        for poll in range(1, 30):
            visibility.show(*(closing(poll + n / 10, f"wf-{poll}-{n}") for n in range(10)))
            visibility.poll(book, poll)
        look_up(book, 29)

        # 60 seconds of overlap
        assert book.listings(NOW + at(30))[COMPLETED].size == 290 * 5 // 4
        assert book.listings(NOW + at(30))[FAILED].size == 20

    def test_as_much_as_twenty_pages_hold_is_caught_up_with(self) -> None:
        visibility = Visibility()
        book = regular(visibility)
        visibility.show(*(closing(n / 10, f"wf-{n}") for n in range(18_200)))
        book.failed(NOW + at(1990))  # else the first poll is a deep one, with half as many pages

        assert len(visibility.poll(book, 2000)) == 18_200
        assert not book.is_behind

    def test_more_than_that_is_not_skipped_but_behind(self) -> None:
        visibility = Visibility()
        book = regular(visibility)
        visibility.show(*(closing(n / 10, f"wf-{n}") for n in range(18_300)))
        book.failed(NOW + at(1990))

        assert visibility.poll(book, 2000) == []
        assert book.is_behind
        assert book.marks()[COMPLETED] == NOW

    def test_a_process_that_resumes_is_behind_if_it_cannot_list_five_minutes(self) -> None:
        visibility = Visibility()
        visibility.show(*(closing(-n / 100, f"wf-{n}") for n in range(29_000)))

        book = resumed()
        visibility.poll(book, 1)

        assert book.is_behind

    def test_a_cold_start_is_not_behind_then_for_a_whole_pass_follows(self) -> None:
        visibility, book = Visibility(), Book({}, NOW, GRACE)
        visibility.show(*(closing(-n / 100, f"wf-{n}") for n in range(29_000)))
        visibility.poll(book, 0)

        visibility.poll(book, 1)

        assert not book.is_behind

    def test_a_deeper_list_with_fewer_pages_that_misses_the_mark_is_continued(self) -> None:
        visibility = Visibility()
        book = regular(visibility)
        visibility.show(*(closing(n / 1000, f"wf-{n}") for n in range(9000)))

        found = set(visibility.poll(book, 30))
        assert 0 < len(found) < 9000
        look_up(book, 30)
        assert book.marks()[COMPLETED] == NOW
        found |= set(visibility.poll(book, 31))

        assert len(found) == 9000
        assert not book.is_behind

    def test_lists_that_could_not_all_be_made_count_as_far_as_they_were(self) -> None:
        visibility = Visibility()
        book = regular(visibility)
        visibility.show(closing(1, "taken"))
        visibility.show(closing(1, "failed"), status=FAILED)
        now = NOW + at(2)
        listing = book.listings(now)[COMPLETED]
        book.take(COMPLETED, visibility.read(COMPLETED, listing), now)
        book.failed(now)

        assert look_up(book, 2) == ["taken"]
        assert visibility.poll(book, 3) == ["failed"]


class TestHits:
    @pytest.mark.parametrize("end", [Ended.WRITTEN, Ended.OPEN, Ended.DROP])
    def test_what_is_settled_is_not_due_again(self, end: Ended) -> None:
        visibility = Visibility()
        book = regular(visibility)
        visibility.show(closing(1))
        visibility.poll(book, 2)

        settle(book, 2, end)

        assert book.waiting == book.late == 0
        assert book.due(NOW + at(3600)) == []

    def test_what_is_not_settled_stays_due(self) -> None:
        visibility = Visibility()
        book = regular(visibility)
        visibility.show(closing(1))

        assert visibility.poll(book, 2) == ["wf"]
        assert look_up(book, 2, "wf") == ["wf"]
        assert look_up(book, 3, "wf") == ["wf"]
        assert book.waiting == 1

    def test_a_row_that_is_too_young_waits(self) -> None:
        visibility = Visibility()
        book = regular(visibility)
        visibility.show(closing(1))
        visibility.poll(book, 2)
        settle(book, 2, WaitUntil(NOW + at(50)))

        assert book.due(NOW + at(49)) == []
        assert look_up(book, 50) == ["wf"]

    def test_a_row_that_stays_too_young_is_left_to_the_sweep(self) -> None:
        visibility = Visibility()
        book = regular(visibility)
        visibility.show(closing(1))
        visibility.poll(book, 0)
        for seconds in range(0, 660, 60):
            settle(book, seconds, WaitUntil(NOW + at(seconds + 60)))
        assert book.waiting == 1

        settle(book, 660, WaitUntil(NOW + at(661)))

        assert book.waiting == 0

    def test_a_row_that_is_too_young_for_no_known_time_is_looked_at_less_and_less(self) -> None:
        visibility, looks = Visibility(), 0
        book = Book({}, NOW, timedelta(hours=1))
        visibility.poll(book, 0)
        visibility.show(closing(1))
        visibility.poll(book, 5)
        for seconds in range(5, 3600, 5):
            if book.due(NOW + at(seconds)):
                settle(book, seconds, WaitUntil(NOW + at(seconds + 5)))
                looks += 1

        assert book.waiting == 1
        assert looks < 80

    def test_a_row_that_is_too_young_for_hours_is_left_to_the_sweep_at_once(self) -> None:
        visibility = Visibility()
        book = regular(visibility)
        visibility.show(closing(1))
        visibility.poll(book, 0)

        settle(book, 0, WaitUntil(NOW + at(7200)))

        assert book.waiting == 0

    def test_a_row_without_a_usable_answer_is_tried_less_and_less_for_ten_minutes(self) -> None:
        visibility = Visibility()
        book = regular(visibility)
        visibility.show(closing(1))
        visibility.poll(book, 2)
        tries = []
        for second in range(2, 1000):
            if book.due(NOW + at(second)):
                tries.append(second)
                settle(book, second, Ended.TRY_AGAIN)

        assert tries == [2, 7, 17, 37, *range(77, 602, 60)]
        assert book.waiting == 0
        assert book.marks()[COMPLETED] == NOW + at(1)

    def test_an_outage_of_the_database_uses_up_no_patience(self) -> None:
        visibility = Visibility()
        book = regular(visibility)
        visibility.show(closing(1))
        visibility.poll(book, 2)

        settle(book, 3600, Ended.TRY_AGAIN)

        assert book.marks()[COMPLETED] == NOW + at(1)
        assert look_up(book, 3605) == ["wf"]

    def test_closings_of_one_workflow_id_get_one_look(self) -> None:
        visibility = Visibility()
        book = regular(visibility)
        visibility.show(closing(1), closing(2), closing(3))
        visibility.show(closing(4), status=FAILED)

        assert visibility.poll(book, 5) == ["wf"]
        settle(book, 5, Ended.WRITTEN)

        assert book.waiting == 0

    def test_a_closing_that_is_listed_during_a_look_gets_its_own(self) -> None:
        visibility = Visibility()
        book = regular(visibility)
        visibility.show(closing(1))
        visibility.poll(book, 2)
        [first] = book.due(NOW + at(2))
        book.looked_up([first], [first], NOW + at(2))
        visibility.show(closing(3))
        visibility.poll(book, 4)

        book.settled(first, Ended.WRITTEN, NOW + at(4))

        assert look_up(book, 5, "wf") == ["wf"]
        assert book.marks()[COMPLETED] == NOW + at(3)

    def test_a_new_closing_of_a_row_that_waits_is_due_at_once(self) -> None:
        visibility = Visibility()
        book = regular(visibility)
        visibility.show(closing(1))
        visibility.poll(book, 2)
        settle(book, 2, WaitUntil(NOW + at(50)))

        visibility.show(closing(3))

        assert visibility.poll(book, 4) == ["wf"]

    def test_so_it_does_if_the_look_up_before_it_found_no_row(self) -> None:
        visibility = Visibility()
        book = regular(visibility)
        visibility.show(closing(1))
        visibility.poll(book, 2)
        first = book.due(NOW + at(2))
        visibility.show(closing(3))
        visibility.poll(book, 4)

        book.looked_up(first, (), NOW + at(4))

        assert (book.waiting, book.late) == (1, 0)

    def test_the_time_for_which_a_row_waits_may_be_over_by_this_clock(self) -> None:
        visibility = Visibility()
        book = regular(visibility)
        visibility.show(closing(1))
        visibility.poll(book, 2)
        settle(book, 2, WaitUntil(NOW))

        assert book.due(NOW + at(2)) == []
        assert look_up(book, 3) == ["wf"]


class TestLateRows:
    def test_are_looked_up_again_three_times(self) -> None:
        visibility = Visibility()
        book = regular(visibility)
        visibility.show(closing(1))
        visibility.poll(book, 2)

        looks = [second for second in range(2, 1000) if look_up(book, second)]

        assert looks == [2, 7, 32, 302]
        assert book.late == 0

    def test_begin_again_with_a_new_closing(self) -> None:
        visibility = Visibility()
        book = regular(visibility)
        visibility.show(closing(1))
        visibility.poll(book, 2)
        look_up(book, 2)
        visibility.show(closing(3))
        visibility.poll(book, 4)
        assert (book.waiting, book.late) == (1, 0)

        assert [second for second in range(4, 1000) if look_up(book, second)] == [4, 9, 34, 304]

    def test_are_tried_as_often_as_others_once_they_are_found(self) -> None:
        visibility = Visibility()
        book = regular(visibility)
        visibility.show(closing(1))
        visibility.poll(book, 2)
        assert [second for second in range(2, 100) if look_up(book, second)] == [2, 7, 32]
        settle(book, 302, Ended.TRY_AGAIN)

        assert look_up(book, 307) == ["wf"]

    def test_do_not_hold_the_mark(self) -> None:
        visibility = Visibility()
        book = regular(visibility)
        visibility.show(closing(1, "late"), closing(2, "later"))
        visibility.poll(book, 2)
        look_up(book, 2)

        assert (book.waiting, book.late) == (0, 2)
        assert book.marks()[COMPLETED] == NOW + at(2)

    def test_hold_it_only_where_five_minutes_below_it_are_not_enough(self) -> None:
        visibility = Visibility()
        book = regular(visibility)
        visibility.show(closing(1, "late"))
        visibility.poll(book, 2)
        look_up(book, 2)
        visibility.show(closing(301.5, "other"))
        visibility.poll(book, 301.6)
        book.settled(book.due(NOW + at(301.6))[-1], Ended.DROP, NOW + at(301.6))

        assert book.marks()[COMPLETED] == NOW + at(301)

    def test_hold_it_as_soon_as_they_are_found(self) -> None:
        visibility = Visibility()
        book = regular(visibility)
        visibility.show(closing(1), closing(2, "other"))
        visibility.poll(book, 2)
        look_up(book, 2)

        look_up(book, 8, "wf")

        assert (book.waiting, book.late) == (1, 1)
        assert book.marks()[COMPLETED] == NOW + at(1)
        settle(book, 9, Ended.WRITTEN)
        assert book.waiting == 0

    def test_a_row_finished_meanwhile_is_as_good_as_late(self) -> None:
        visibility = Visibility()
        book = regular(visibility)
        visibility.show(closing(1))
        visibility.poll(book, 2)
        settle(book, 2, Ended.TRY_AGAIN)

        look_up(book, 7)

        assert (book.waiting, book.late) == (0, 1)
        assert [second for second in range(8, 1000) if look_up(book, second)] == [12, 37, 307]


class TestOpenChains:
    def open_times(
        self,
        book: Book,
        visibility: Visibility,
        times: int,
        status: CloseStatus = FAILED,
    ) -> float:
        """Find a chain open this many times in a row; return when the last time was."""
        second = 0
        for _ in range(times):
            second += 1
            visibility.show(closing(second), status=status)
            visibility.poll(book, second)
            while not book.due(NOW + at(second)):
                second += 1
            settle(book, second, Ended.OPEN)
        return second

    @pytest.mark.parametrize(
        ("times", "wait"),
        [(0, 0), (1, 0), (2, 30), (3, 60), (4, 120), (5, 240), (6, 480), (7, 600), (8, 600)],
    )
    def test_their_next_closing_waits_longer_each_time(self, times: int, wait: float) -> None:
        visibility = Visibility()
        book = regular(visibility)
        last = self.open_times(book, visibility, times)
        visibility.show(closing(last + 0.5), status=FAILED)
        visibility.poll(book, last + 0.5)
        visibility.show(closing(last + 0.6), status=FAILED)
        visibility.poll(book, last + 0.6)

        assert not wait or book.due(NOW + at(last + wait - 1)) == []
        assert look_up(book, last + max(wait, 1)) == ["wf"]

    def test_ticks_of_a_cron_schedule_wait_too(self) -> None:
        visibility = Visibility()
        book = regular(visibility)
        last = self.open_times(book, visibility, 3, COMPLETED)
        visibility.show(closing(last + 1), status=COMPLETED)

        assert visibility.poll(book, last + 59) == []

    def test_the_closing_that_waits_holds_the_mark(self) -> None:
        visibility = Visibility()
        book = regular(visibility)
        last = self.open_times(book, visibility, 3)
        visibility.show(closing(last + 1), closing(last + 2, "other"), status=FAILED)
        visibility.poll(book, last + 2)
        look_up(book, last + 2)

        assert book.marks()[FAILED] == NOW + at(last + 1)

    def test_a_closing_of_another_status_is_due_at_once(self) -> None:
        visibility = Visibility()
        book = regular(visibility)
        last = self.open_times(book, visibility, 5)
        visibility.show(closing(last + 1), status=FAILED)
        assert visibility.poll(book, last + 1) == []

        visibility.show(closing(last + 2), status=COMPLETED)

        assert visibility.poll(book, last + 2) == ["wf"]

    def test_a_closing_that_was_found_open_before_it_does_not_delay_it(self) -> None:
        visibility = Visibility()
        book = regular(visibility)
        last = self.open_times(book, visibility, 5)
        visibility.show(closing(last + 1), status=COMPLETED)
        assert visibility.poll(book, last + 1) == ["wf"]

        visibility.show(closing(last + 2), status=FAILED)

        assert visibility.poll(book, last + 2) == ["wf"]

    def test_any_other_end_of_a_look_makes_them_due_at_once_again(self) -> None:
        visibility = Visibility()
        book = regular(visibility)
        last = self.open_times(book, visibility, 4)
        visibility.show(closing(last + 1), status=FAILED)
        visibility.poll(book, last + 1)
        settle(book, last + 120, Ended.WRITTEN)

        for seconds in (121, 123):
            visibility.show(closing(last + seconds), status=FAILED)
            assert visibility.poll(book, last + seconds) == ["wf"]
            settle(book, last + seconds, Ended.OPEN)

    def test_are_forgotten_in_time(self) -> None:
        visibility = Visibility()
        book = regular(visibility)
        for n in range(100):
            visibility.show(closing(n, f"cron-{n}"))
            visibility.poll(book, n)
            settle(book, n, Ended.OPEN, f"cron-{n}")
        visibility.show(closing(2000))
        visibility.poll(book, 2000)
        settle(book, 2000, Ended.OPEN)

        assert len(book._waiting._damping._open) == 1
