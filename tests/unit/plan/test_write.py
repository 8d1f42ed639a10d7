"""The file of a dry run: written completely, or not at all."""

from __future__ import annotations

import os
import resource
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import pytest

from reconciler.core.errors import ConfigurationError, Unusable
from reconciler.core.model import OldValues, RowId
from reconciler.plan.write import PlanWriter
from tests.support.factories import NOW
from tests.support.passes.plan_files import (
    HEADER,
    dry_run,
    finishes,
    leaves,
    lines,
    make_plan,
    still_running,
)


@pytest.fixture(params=["plan.jsonl", "plan.csv"])
def path(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    return tmp_path / str(request.param)


async def test_the_file_appears_when_the_pass_has_ended_and_not_before(path: Path) -> None:
    report = dry_run()
    with PlanWriter(path, HEADER, still_running) as writer:
        await writer.on_page(report, finishes(1, 2))
        assert not path.exists()
        assert len(list(path.parent.iterdir())) == 1, "on the file system of its target"
        await writer.on_pass(report)
        assert path.exists()

    assert list(path.parent.iterdir()) == [path]


async def test_a_pass_that_is_aborted_leaves_nothing(path: Path) -> None:
    report = dry_run()
    with PlanWriter(path, HEADER, still_running) as writer:
        await writer.on_page(report, finishes(1, 2))
        report.stop()
        await writer.on_pass(report)

        assert list(path.parent.iterdir()) == []


async def test_a_pass_that_does_not_complete_leaves_nothing(path: Path) -> None:
    with PlanWriter(path, HEADER, still_running) as writer:
        await writer.on_page(dry_run(), finishes(1, 2))

    assert list(path.parent.iterdir()) == []


async def test_only_its_owner_may_read_and_change_it(path: Path) -> None:
    before = os.umask(0)
    try:
        await make_plan(path, finishes(1))
    finally:
        os.umask(before)

    assert path.stat().st_mode & 0o777 == 0o600


class TestRefusedAtOnce:
    def refused(self, path: Path) -> str:
        before = sorted(path.parent.glob("*"))
        with pytest.raises(ConfigurationError) as refusal:
            PlanWriter(path, HEADER, still_running)
        assert sorted(path.parent.glob("*")) == before
        return str(refusal.value).removeprefix(f"--output {path}: ")

    def test_a_file_that_exists(self, path: Path) -> None:
        path.write_text("precious")

        assert self.refused(path) == "exists already: name another file, or remove it"
        assert path.read_text() == "precious"

    def test_a_dangling_link(self, path: Path) -> None:
        path.symlink_to("nowhere")

        assert self.refused(path).startswith("exists already")

    @pytest.mark.parametrize("name", ["plan", "plan.txt", "plan.json", "plan.jsonl.gz", ".jsonl"])
    def test_a_name_that_does_not_say_what_it_is(self, tmp_path: Path, name: str) -> None:
        assert self.refused(tmp_path / name) == (
            "ends in neither .jsonl nor .csv: use .jsonl to apply it later, .csv to look at it"
        )

    def test_a_folder_that_does_not_exist(self, path: Path) -> None:
        gone = path.parent / "gone"

        assert self.refused(gone / path.name) == f"there is no folder {gone}"

    def test_a_folder_that_may_not_be_written(
        self, path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def refuse(**_: object) -> None:  # root may write everywhere
            raise PermissionError(13, "Permission denied")

        monkeypatch.setattr(tempfile, "mkstemp", refuse)

        assert self.refused(path) == "cannot be written: Permission denied"

    def test_a_name_that_is_too_long(self, path: Path) -> None:
        long = path.with_stem("x" * 300)

        assert self.refused(long) == "cannot be written: File name too long"

    def test_in_one_line_whatever_the_name(self, tmp_path: Path) -> None:
        assert "\n" not in self.refused(tmp_path / "two\nlines")


async def test_a_file_created_meanwhile_is_not_overwritten(path: Path) -> None:
    report = dry_run()
    with PlanWriter(path, HEADER, still_running) as writer:
        await writer.on_page(report, finishes(1))
        path.write_text("precious")
        with pytest.raises(Unusable, match=f"^--output {path}: cannot be written: File exists"):
            await writer.on_pass(report)

    assert path.read_text() == "precious"
    assert list(path.parent.iterdir()) == [path]


@contextmanager
def no_space(limit: int) -> Iterator[None]:
    """Let no file grow beyond `limit` bytes."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


async def test_a_page_that_cannot_be_written_ends_the_pass(path: Path) -> None:
    with PlanWriter(path, HEADER, still_running) as writer, no_space(20_000):
        with pytest.raises(Unusable, match=f"^--output {path}: cannot be written: File too large"):
            await writer.on_page(dry_run(), finishes(*range(1000)))
        writer.close()

    assert list(path.parent.iterdir()) == []


async def test_a_trailer_that_cannot_be_written_ends_the_pass(path: Path) -> None:
    report = dry_run()
    with PlanWriter(path, HEADER, still_running) as writer, no_space(100):
        await writer.on_page(report, finishes(1))
        with pytest.raises(Unusable, match=f"^--output {path}: cannot be written: File too large"):
            await writer.on_pass(report)

    assert list(path.parent.iterdir()) == []


async def test_it_is_on_the_disk_before_it_has_its_name(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced = []

    def fsync(number: int) -> None:
        synced.append((os.fstat(number).st_size > 0, path.exists()))

    monkeypatch.setattr(os, "fsync", fsync)
    await make_plan(path, finishes(1))

    assert synced == [(True, False)]


async def test_the_old_values_are_read_once_per_page(tmp_path: Path) -> None:
    asked = []

    async def old_values(ids: Sequence[RowId]) -> Mapping[RowId, OldValues]:
        asked.append(list(ids))
        return {1: OldValues("running", None, "left over"), 2: OldValues(None, NOW, None)}

    path, report = tmp_path / "plan.jsonl", dry_run()
    with PlanWriter(path, HEADER, old_values) as writer:
        await writer.on_page(report, [*finishes(1), *leaves(2)])
        await writer.on_page(report, ())
        await writer.on_page(report, finishes(3))
        await writer.on_pass(report)

    assert asked == [[1, 2], [3]]
    assert [line["old"] for line in lines(path)[1:-1]] == [
        {"status": "running", "completed_at": None, "error_message": "left over"},
        {"status": None, "completed_at": NOW.isoformat(), "error_message": None},
        None,
    ]
