"""RECONCILER_WHERE: its conditions, the name that records have for them, and what is rejected."""

from __future__ import annotations

from pathlib import Path

import pytest

from reconciler.postgres.table.row_filter import Condition, RowFilter
from reconciler.settings.load import load_settings
from reconciler.settings.model import Settings
from reconciler.settings.where import read_where
from tests.unit.settings.conftest import refusal

SEVEN = Condition("tenant", ("7",))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("tenant=7", SEVEN),
        (" Tenant Id = 7 , 8", Condition("Tenant Id", ("7", "8"))),
        ('"Tenant and ""Id""" = 7', Condition('Tenant and "Id"', ("7",))),
        ("tenant=acme=1", Condition("tenant", ("acme=1",))),
        ("tenant!=7,in progress", Condition("tenant", ("7", "in progress"), negated=True)),
        ("tenant != is null", Condition("tenant", ("is null",), negated=True)),
        ('tenant!=""', Condition("tenant", ("",), negated=True)),
        (
            'tenant="acme, inc", "say ""hi""",x',
            Condition("tenant", ("acme, inc", 'say "hi"', "x")),
        ),
        ('tenant="rock and roll"', Condition("tenant", ("rock and roll",))),
        ("tenant=sand,order", Condition("tenant", ("sand", "order"))),
        ("tenant='; DROP TABLE jobs", Condition("tenant", ("'; DROP TABLE jobs",))),
        ("deleted_at is null", Condition("deleted_at")),
        ("this is it IS  NOT NULL ", Condition("this is it", negated=True)),
        ('"deleted at"  Is Null', Condition("deleted at")),
        ("is is null", Condition("is")),
    ],
)
def test_a_condition_is_a_column_and_what_it_must_have(text: str, expected: Condition) -> None:
    assert read_where(text) == RowFilter((expected,))
    joined = read_where(f"{text} AND last is null")
    assert joined == RowFilter((expected, Condition("last")))
    assert read_where(f"first!=a and {text}").conditions[1] == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("tenant", "cannot be read at 'tenant': must look like column=value"),
        ("=7", "cannot be read at '=7': "),
        ("tenant=", "cannot be read at the end of 'tenant=': "),
        ("tenant=7,", "cannot be read at the end of 'tenant=7,': "),
        ("tenant=,7", "cannot be read at ',7': "),
        (" ", "cannot be read at the end of '': "),
        ("tenant=rock and roll", "cannot be read at 'roll': "),
        ("tenant=7 and", "cannot be read at the end of 'tenant=7 and': "),
        ("tenant=7 and and x=1", "cannot be read at 'and x=1': "),
        ('tenant="7', "cannot be read at '\"7': "),
        ('tenant="7"8', "cannot be read at '\"7\"8': "),
        ("tenant=7\n8", r"cannot be read at '7\n8': "),
        ("tenant<>7", "cannot be read at 'tenant<>7': "),
        ("tenant is nothing", "cannot be read at 'tenant is nothing': "),
        ("tenant is null or x=1", "cannot be read at 'or x=1': "),
        ("tenant=7 or tenant=8", "cannot be read at 'or tenant=8': "),
        ("tenant='acme'", "cannot be read at \"'acme'\": values have no single quotes"),
        ("tenant=NULL", "cannot be read at 'NULL': "),
        ("a" * 40, f"cannot be read at '{'a' * 30}…': "),
        ("tenant=7,8,7", "names a value twice"),
        ("tenant!=7 and tenant!=8", "names column tenant twice: give all of its values in one"),
    ],
)
def test_what_cannot_be_read_is_one_line_with_the_place(
    monkeypatch: pytest.MonkeyPatch, text: str, expected: str
) -> None:
    monkeypatch.setenv("RECONCILER_WHERE", text)

    assert f"RECONCILER_WHERE: {expected}" in refusal()


def test_the_environment_may_have_an_empty_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RECONCILER_WHERE", "")

    assert load_settings(Settings).table_mapping().where is None


@pytest.mark.parametrize(
    "content", ['where = "tenant=7 and x is null"', 'where = \'"tenant"="7" and x is null\'']
)
def test_in_a_file_it_is_a_text(content: str) -> None:
    Path("reconciler.toml").write_text(content)

    assert load_settings(Settings).table_mapping().where == RowFilter((SEVEN, Condition("x")))


@pytest.mark.parametrize("content", ["where = 7", "where = ['tenant=7']", "[where]\ntenant = 7"])
def test_another_type_in_a_file_is_rejected(content: str) -> None:
    Path("reconciler.toml").write_text(content)

    assert refusal().startswith(
        ("reconciler.toml: where: ", "reconciler.toml: unknown key where.tenant")
    )


def test_equal_filters_have_the_same_name() -> None:
    texts = ["b!=2,1 and tenant=8, 7 AND d IS NULL", "d is null and tenant=7,8 and b != 1,2"]

    assert {str(read_where(text)) for text in texts} == {
        "b != 1, 2 and d is null and tenant = 7, 8"
    }


DIFFERENT = [
    "a=1",
    "a!=1",
    "a is null",
    "a is not null",
    'a="1, 2"',
    "a=1,2",
    'a="""1, 2"""',
    'a="""1","2"""',
    'a=""',
    'a="1 and b = 2"',
    "a=1 and b=2",
    '"a = 1 and b"=2',
    'a="1 "',
    '"a is null"=1',
    '"A"=1',
    'a="and 2"',
    '"and"=1',
    'a="null"',
    "a=\"'1'\"",
    'a="x\ny"',
    'a="1 (backfill)"',
]


def test_different_filters_have_different_names() -> None:
    assert len({str(read_where(text)) for text in DIFFERENT}) == len(DIFFERENT)


@pytest.mark.parametrize("text", DIFFERENT)
def test_the_name_can_be_pasted_into_the_setting(text: str) -> None:
    assert read_where(str(read_where(text))) == read_where(text)
