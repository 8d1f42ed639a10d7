"""A plan is refused before anything is written, unless all of it is right."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from hashlib import sha256
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest

from reconciler.plan.format import MAX_LINE
from tests.support.passes.plan_files import HEADER, VERDICTS, make_plan, read_plan, refused

#: From one place in a plan to the next to try: a third of them is enough.
STEP = 3


def with_header(**fields: Any) -> Callable[[bytes], bytes]:
    def change(content: bytes) -> bytes:
        first, rest = content.split(b"\n", 1)
        return json.dumps(json.loads(first) | fields).encode() + b"\n" + rest

    return change


def without(name: str) -> Callable[[bytes], bytes]:
    def change(content: bytes) -> bytes:
        first, rest = content.split(b"\n", 1)
        header = json.loads(first)
        del header[name]
        return json.dumps(header).encode() + b"\n" + rest

    return change


def at(line: int, change: Callable[[bytes], bytes]) -> Callable[[bytes], bytes]:
    def changed(content: bytes) -> bytes:
        lines = content.splitlines(keepends=True)
        lines[line - 1] = change(lines[line - 1])
        return b"".join(lines)

    return changed


NOT_A_PLAN = "is not a plan, as made by `reconciler backfill --output`"
CHANGED = "was changed after it was made"


@pytest.mark.parametrize(
    ("change", "why"),
    [
        pytest.param(lambda _: b"", "is empty", id="empty"),
        pytest.param(lambda _: b"id,verdict\n1,finish\n", NOT_A_PLAN, id="something else"),
        pytest.param(lambda _: b"\x1f\x8b\x08\xff", NOT_A_PLAN, id="binary"),
        pytest.param(lambda _: b"[1]\n", NOT_A_PLAN, id="other JSON"),
        pytest.param(lambda _: b'{"id": 1}\n', NOT_A_PLAN, id="other lines of JSON"),
        pytest.param(lambda c: c.split(b"\n", 1)[1], NOT_A_PLAN, id="without header"),
        pytest.param(lambda c: b"\n" + c, NOT_A_PLAN, id="not from the first line"),
        *(
            pytest.param(without(name), NOT_A_PLAN, id=f"header without {name}")
            for name in HEADER.to_json()
        ),
        pytest.param(with_header(plan_id="x"), NOT_A_PLAN, id="plan id that is not a UUID"),
        pytest.param(with_header(made_at=None), NOT_A_PLAN, id="made at no time"),
        pytest.param(with_header(window="90d"), NOT_A_PLAN, id="window that is not an object"),
        pytest.param(with_header(reconciler_plan=True), NOT_A_PLAN, id="version true"),
        pytest.param(with_header(reconciler_plan="1"), NOT_A_PLAN, id="version as text"),
        pytest.param(
            with_header(reconciler_plan=2),
            "is of format 2, this version reads format 1: make the plan again",
            id="another version",
        ),
        pytest.param(with_header(made_at="2026-11-23T12:00:01+00:00"), CHANGED, id="header"),
        pytest.param(
            at(3, lambda _: b"{}\n"), f"{CHANGED}: line 3 is not of a plan", id="not a row"
        ),
        pytest.param(
            at(4, lambda _: b"\n"), f"{CHANGED}: line 4 is not of a plan", id="empty line"
        ),
        pytest.param(
            at(3, lambda line: line.replace(b'"completed"', b'"failed"')), CHANGED, id="new value"
        ),
        pytest.param(at(3, lambda line: line.replace(b", ", b",")), CHANGED, id="other spaces"),
        pytest.param(at(3, lambda line: line + line), CHANGED, id="row twice"),
        pytest.param(at(3, lambda _: b""), CHANGED, id="row taken out"),
        pytest.param(at(8, lambda line: line + line), CHANGED, id="end twice"),
        pytest.param(lambda c: c + b"\n", CHANGED, id="something after its end"),
        pytest.param(lambda c: c.replace(b"\n", b"\r\n"), CHANGED, id="other line ends"),
        pytest.param(
            at(8, lambda line: line.replace(b'"held_back": 1', b'"held_back": 0')),
            CHANGED,
            id="nothing held back",
        ),
        pytest.param(
            at(8, lambda line: line.replace(b'"held_back": 1', b'"held_back": null')),
            CHANGED,
            id="no figure",
        ),
        pytest.param(
            at(3, lambda _: b"x" * (MAX_LINE + 1) + b"\n"),
            f"{CHANGED}: line 3 is longer than any of a plan",
            id="endless line",
        ),
    ],
)
def test_what_is_not_a_plan_or_no_longer_one_is_refused(
    path: Path, change: Callable[[bytes], bytes], why: str
) -> None:
    path.write_bytes(change(path.read_bytes()))

    assert refused(path) == why


@pytest.mark.parametrize(
    ("settings", "why"),
    [
        (
            {"table": "jobs"},
            "is of table workflow_executions, the settings say jobs",
        ),
        ({"namespace": "prod"}, "is of namespace default, TEMPORAL_NAMESPACE is prod"),
        (
            {"running": ("RUNNING", "NEW")},
            "is of rows marked running, RECONCILER_STATUSES__RUNNING is RUNNING,NEW",
        ),
    ],
)
def test_a_plan_of_something_else_is_refused(
    path: Path, settings: dict[str, str], why: str
) -> None:
    assert refused(path, **settings) == why


async def test_a_plan_of_another_target_is_refused_where_both_are_known(
    tmp_path: Path, path: Path
) -> None:
    """Two databases may have a table of one name."""
    of_eu = await make_plan(tmp_path / "eu.jsonl", VERDICTS, header=replace(HEADER, target="eu"))

    assert refused(of_eu, target="us") == "is of target eu, not of us"
    for plan, target in [(of_eu, "eu"), (of_eu, ""), (path, "us")]:
        assert read_plan(plan, target=target).finishes == 3
    assert b"target" not in path.read_bytes()


def test_a_plan_cut_at_the_end_of_a_line_is_refused(path: Path) -> None:
    lines = path.read_bytes().splitlines(keepends=True)
    for count in range(1, len(lines)):
        path.write_bytes(b"".join(lines[:count]))

        assert refused(path) == (f"is truncated: it ends with line {count}: make the plan again")


def test_a_plan_cut_anywhere_is_refused(path: Path) -> None:
    content, refusals = path.read_bytes(), set()
    for length in range(0, len(content), STEP):
        path.write_bytes(content[:length])
        refusals.add(refused(path).partition(":")[0])

    assert refusals == {"is empty", "is truncated", NOT_A_PLAN}, (
        "the last because its first word is incomplete"
    )


def test_a_plan_with_any_character_changed_is_refused(path: Path) -> None:
    content = path.read_bytes()
    for place in range(0, len(content), STEP):
        changed = bytearray(content)
        changed[place] ^= 1
        path.write_bytes(changed)

        assert refused(path)


@pytest.mark.parametrize("odd", [b"null", b"true", b"1.0", b'"1"'])
def test_a_figure_that_is_not_a_number_is_refused_even_with_a_correct_checksum(
    path: Path, odd: bytes
) -> None:
    content, _, _ = path.read_bytes().rpartition(b', "sha256": ')
    content = content.replace(b'"held_back": 1', b'"held_back": ' + odd)
    path.write_bytes(content + f', "sha256": "{sha256(content).hexdigest()}"}}\n'.encode())

    assert refused(path) == CHANGED


def test_an_id_that_the_table_cannot_have_is_refused(path: Path) -> None:
    why = refused(path, read_id=lambda id_: UUID(str(id_)))

    assert why == f"{CHANGED}: line 2 is not of a plan"


class TestFile:
    @pytest.mark.parametrize("suffix", [".csv", ".CSV"])
    def test_a_table_is_for_reading_only(self, path: Path, suffix: str) -> None:
        assert refused(path.rename(path.with_suffix(suffix))) == (
            "a .csv is for reading only: make a plan with --output plan.jsonl"
        )

    @pytest.mark.parametrize("name", ["plan", "plan.json", "plan.jsonl.gz"])
    def test_a_name_with_another_suffix(self, path: Path, name: str) -> None:
        assert refused(path.rename(path.parent / name)) == (
            "is not a plan: the name of a plan ends in .jsonl"
        )

    def test_a_file_that_does_not_exist(self, tmp_path: Path) -> None:
        gone = tmp_path / "gone.jsonl"

        assert refused(gone) == "cannot be read: No such file or directory"

    def test_a_folder(self, tmp_path: Path) -> None:
        (tmp_path / "plan.jsonl").mkdir()

        assert refused(tmp_path / "plan.jsonl") == "cannot be read: is a directory, not a file"


async def test_the_header_of_another_plan_is_refused(tmp_path: Path, path: Path) -> None:
    other = await make_plan(
        tmp_path / "other.jsonl", VERDICTS, header=replace(HEADER, namespace="prod")
    )
    header, _, _ = path.read_bytes().partition(b"\n")
    _, _, rest = other.read_bytes().partition(b"\n")
    path.write_bytes(header + b"\n" + rest)

    assert refused(path) == CHANGED
