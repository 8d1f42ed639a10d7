"""Templates of workflow ids: how they are read, and how an id is split into its columns."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reconciler.postgres.table.template import Template


@pytest.mark.parametrize(
    ("written", "columns", "texts"),
    [
        ("workflow_id", ("workflow_id",), ("", "")),
        ("{id}", ("id",), ("", "")),
        ("sync-{id}", ("id",), ("sync-", "")),
        ("export/{batch}/{part}", ("batch", "part"), ("export/", "/", "")),
        ("{{{id}}}-{Job Id}", ("id", "Job Id"), ("{", "}-", "")),
    ],
)
def test_columns_stand_between_braces(
    written: str, columns: tuple[str, ...], texts: tuple[str, ...]
) -> None:
    assert Template.parse(written) == Template(columns, texts)


@pytest.mark.parametrize(
    ("written", "why"),
    [
        ("sync-{id", "a brace without its counterpart"),
        ("sync-id}", "a brace without its counterpart"),
        ("sync-{{id}}", "names no column"),
        ("sync-{}", "must have the name of a column"),
        ("sync-{id:06d}", "must have the name of a column"),
        ("sync-{id!r}", "must have the name of a column"),
        ("{a}{b}", "no text between {a} and {b}"),
    ],
)
def test_what_is_no_template_is_refused(written: str, why: str) -> None:
    with pytest.raises(ValueError, match=why):
        Template.parse(written)


#: Values and separators of few characters, so that a separator is often part of a value.
_VALUE, _TEXT = st.text("a-0", min_size=1, max_size=6), st.text("a-0", min_size=1, max_size=3)


@given(st.data())
def test_the_value_of_every_row_is_among_the_pieces(data: st.DataObject) -> None:
    values = data.draw(st.lists(_VALUE, min_size=1, max_size=4))
    between = data.draw(st.lists(_TEXT, min_size=len(values) - 1, max_size=len(values) - 1))
    texts = (data.draw(st.just("") | _TEXT), *between, data.draw(st.just("") | _TEXT))
    template = Template(tuple("abcd"[: len(values)]), texts)
    workflow_id = texts[0] + "".join(map(str.__add__, values, texts[1:]))

    for place, value in enumerate(values):
        every = list(template.pieces(workflow_id, place))
        assert value in every
        assert value in list(template.pieces(workflow_id, place, longest=len(value)))
        assert len(every) <= len(workflow_id) or not template.is_bounded(place)


def test_an_id_of_another_kind_has_no_pieces() -> None:
    template = Template.parse("export/{batch}/{part}.csv")

    for other in (
        "",
        "export/",
        "export//7.csv",
        "import/1/7.csv",
        "export/1/7.txt",
    ):
        pieces = [list(template.pieces(other, place)) for place in (0, 1)]
        assert not all(pieces), other
