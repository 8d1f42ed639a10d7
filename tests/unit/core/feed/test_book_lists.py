"""What a poll lists, and how late closings are shown."""

from __future__ import annotations

from reconciler.core.feed.book import Book
from reconciler.core.feed.ended import Ended
from tests.support.books import COMPLETED, FAILED, GRACE, at, look_up, regular, resumed, settle
from tests.support.closings import Visibility, closing
from tests.support.factories import NOW


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
