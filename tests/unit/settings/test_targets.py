"""The sections of targets in `reconciler.toml`: what wins, and what is rejected."""

from __future__ import annotations

from pathlib import Path

import pytest

from reconciler.core.errors import ConfigurationError
from reconciler.settings import sources
from reconciler.settings.load import load_settings
from reconciler.settings.model import Settings
from reconciler.settings.targets import load_targets
from tests.unit.settings.conftest import SECRET, URL

#: A target that works.
ORDERS = "[targets.orders]\ntable = 'orders'\n"


def written(text: str) -> None:
    Path("reconciler.toml").write_text(text)


def target(text: str, name: str = "orders") -> Settings:
    written(text)
    return next(each for each in load_targets() if each.target == name)


def refusal(text: str, only: str | None = None) -> str:
    """The one line that the targets are rejected with."""
    written(text)
    with pytest.raises(ConfigurationError) as refused:
        load_targets(only)
    line = str(refused.value)
    assert "\n" not in line
    assert SECRET not in line
    return line


def url(settings: Settings) -> str:
    return settings.database_url.get_secret_value()


def test_without_targets_there_are_the_settings_alone() -> None:
    written("table = 'jobs'")

    (settings,) = load_targets()

    assert (settings.target, settings.table) == ("", "jobs")


def test_each_section_is_a_target_in_the_order_of_the_file() -> None:
    written(f"grace = '5m'\n[targets.z-1]\ntable = 'z'\n{ORDERS}grace = '1m'\n")

    found = load_targets()

    assert [(each.target, each.table, each.grace.seconds) for each in found] == [
        ("z-1", "z", 300),
        ("orders", "orders", 60),
    ]
    assert [each.target for each in load_targets("orders")] == ["orders"]


def test_a_section_wins_over_every_other_source_but_options(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    mounted = tmp_path / "secrets"
    mounted.mkdir()
    monkeypatch.setattr(sources, "SECRETS", (str(mounted),))
    for name in ("batch_size", "concurrency", "max_rps", "visibility_rps", "table"):
        (mounted / f"reconciler_{name}").write_text("5")
    sections = "table = 'own'\nvisibility_rps = 1\n"
    Path(".env").write_text(
        "RECONCILER_TABLE=x\nRECONCILER_VISIBILITY_RPS=3\nRECONCILER_MAX_RPS=3\n"
    )
    monkeypatch.setenv("RECONCILER_TABLE", "x")
    monkeypatch.setenv("RECONCILER_VISIBILITY_RPS", "2")
    written(f"max_rps = 4\nconcurrency = 4\n[targets.orders]\n{sections}")

    (settings,) = load_targets(table="option")

    assert settings.table == "option"
    assert settings.visibility_rps == 1
    assert settings.max_rps == 3
    assert settings.concurrency == 4
    assert settings.batch_size == 5


def test_columns_and_statuses_merge_key_by_key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RECONCILER_STATUSES__FAILED", "broken")

    settings = target(
        "[columns]\nid = 'key'\nstatus = 'state'\n[targets.orders.columns]\nstatus = 'sync'\n"
        "[targets.orders.statuses]\nrunning = ['syncing']\n"
    )

    assert (settings.columns.id, settings.columns.status) == ("key", "sync")
    assert (settings.statuses.running, settings.statuses.failed) == (("syncing",), "broken")


@pytest.mark.parametrize(
    ("outside", "own", "expected"),
    [
        ("database_url_file = 'url'", f"database_url = '{URL}-own'", f"{URL}-own"),
        (f"database_url = '{URL}-outside'", "database_url_file = 'url'", f"{URL}-mounted"),
    ],
)
def test_a_url_and_a_file_of_a_url_replace_each_other(
    monkeypatch: pytest.MonkeyPatch, outside: str, own: str, expected: str
) -> None:
    monkeypatch.delenv("DATABASE_URL")
    Path("url").write_text(f"{URL}-mounted")

    assert url(target(f"{outside}\n[targets.orders]\n{own}")) == expected


@pytest.mark.parametrize(
    ("outside", "own", "expected"),
    [
        ("data_converter = 'a:b'", "codec_endpoint = 'http://own'", (None, "http://own", [])),
        (
            "codec_endpoint = 'http://outside'\ncodec_headers = 'X: 1'",
            "codec_endpoint = 'http://own'",
            (None, "http://own", []),
        ),
        (
            "codec_endpoint = 'http://outside'\ncodec_headers = 'X: 1'",
            "data_converter = 'a:b'",
            ("a:b", None, []),
        ),
        (
            "codec_endpoint = 'http://outside'\ncodec_headers = 'X: 1'",
            "codec_headers = 'X: 2'",
            (None, "http://outside", [("X", "2")]),
        ),
    ],
)
def test_ways_to_decode_replace_each_other(outside: str, own: str, expected: object) -> None:
    assert target(f"{outside}\n[targets.orders]\n{own}").decoder() == expected


def test_what_excludes_each_other_outside_or_inside_is_rejected_as_without_targets() -> None:
    Path("url").write_text(URL)

    outside = refusal(f"database_url_file = 'url'\n{ORDERS}")
    own = refusal(f"{ORDERS}database_url = '{URL}'\ndatabase_url_file = 'url'")

    assert outside.startswith("DATABASE_URL (environment) and database_url_file (reconciler.toml)")
    section = "(reconciler.toml [targets.orders])"
    assert own.startswith(f"database_url {section} and database_url_file {section} exclude each")


def test_a_rotated_url_is_read_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("DATABASE_URL")
    Path("own").write_text(URL)
    current = target(f"{ORDERS}database_url_file = 'own'").dsn()
    assert current() == URL

    Path("own").write_text(f"{URL}-rotated")
    assert current() == f"{URL}-rotated"

    Path("own").unlink()
    with pytest.raises(
        ConfigurationError, match=r"^target orders: DATABASE_URL_FILE: cannot read own: "
    ):
        current()


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("targets = 3", "targets must be sections: write [targets.orders]"),
        ("[[targets]]\nname = 'orders'", "targets must be sections: write [targets.orders]"),
        ("[targets]", "targets has no target: write [targets.orders]"),
        ("[targets]\ntable = 'orders'", "targets.table is in no target: write it into the section"),
        ("[[targets.a]]", "targets.a is an array: write [targets.a], in single brackets"),
        ("[targets.Orders]", "'Orders' cannot be the name of a target: use lower-case letters, "),
        ("[targets.'a b']", "'a b' cannot be the name of a target: "),
        ("[targets.-a]", "'-a' cannot be the name of a target: "),
        (f"[targets.{'a' * 64}]", f"'{'a' * 64}' cannot be the name of a target: "),
        ('[targets."a\\nb"]', r"'a\nb' cannot be the name of a target: "),
        ("[target.orders]\ntable = 'a'", "unknown key target.orders: targets are sections such"),
        ("[Targets.orders]", "unknown key Targets.orders: targets are sections such as [targets.o"),
        ("target = 'orders'", "unknown key target: targets are sections such as [targets.orders]"),
    ],
)
def test_what_is_no_section_of_a_target_is_rejected(text: str, expected: str) -> None:
    assert refusal(text).startswith(f"reconciler.toml: {expected}")
    with pytest.raises(ConfigurationError):  # as a worker reads it, or the plugin
        load_settings(Settings)


@pytest.mark.parametrize(
    ("inside", "expected"),
    [
        ("max_rsp = 1", "unknown key targets.orders.max_rsp, did you mean max_rps?"),
        ("nope = 1", "unknown key targets.orders.nope"),
        ("columns.runid = 'a'", "unknown key targets.orders.columns.runid, did you mean columns.r"),
        (
            "columns.time_zone = 'UTC'",
            "unknown key targets.orders.columns.time_zone: time_zone goes into [targets.orders], a",
        ),
        ("columns = 'a'", "targets.orders.columns: set its parts, such as targets.orders.columns."),
        ("max_rps = 'x'", "targets.orders.max_rps: must be a number (it is 'x')"),
        ("columns.id = 3", "targets.orders.columns.id: must be a valid string (it is 3)"),
        ("table = []", "targets.orders.table: must be a valid string (it is [])"),
        ("database_url = 's3cret'", "targets.orders.database_url: must look like postgresql://"),
        (
            "columns.completed_at = 'created_at'",
            "columns.created_at and targets.orders.columns.completed_at: both name the column",
        ),
        ("temporal_adress = 's3cret'", "unknown key targets.orders.temporal_adress, did you mean "),
        ("TEMPORAL_ADDRESS = 't:1'", "unknown key targets.orders.TEMPORAL_ADDRESS, did you mean t"),
        ("temporal.address = 't:1'", "unknown key targets.orders.temporal.address, did you mean t"),
        ("temporal_namespace = 7", "targets.orders.temporal_namespace: must be text in quotes"),
        (
            "temporal_api_key = ['s3cret']",
            "targets.orders.temporal_api_key: must be text in quotes",
        ),
        ("temporal_tls = 1", "targets.orders.temporal_tls: must be true or false"),
        ("temporal_grpc_meta_ = 's3cret'", "unknown key targets.orders.temporal_grpc_meta_"),
        ("http_port = 1", "targets.orders.http_port is about the whole process: set it above the"),
        ("page = 'off'", "targets.orders.page is about the whole process: "),
        ("page_password = 's3cret'", "targets.orders.page_password is about the whole process: "),
        ("page_password_file = 'a'", "targets.orders.page_password_file is about the whole "),
        ("http_host = '::'", "targets.orders.http_host is about the whole process: "),
        ("log_level = 'debug'", "targets.orders.log_level is about the whole process: "),
        ("log_format = 'json'", "targets.orders.log_format is about the whole process: "),
        ("ignore = 'RECONCILER_X'", "targets.orders.ignore is about the whole process: "),
    ],
)
def test_what_is_wrong_in_a_section_is_named_by_its_whole_key(inside: str, expected: str) -> None:
    assert refusal(f"[targets.orders]\n{inside}").startswith(f"reconciler.toml: {expected}")


def test_what_is_wrong_outside_names_the_target_that_it_does_not_fit(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("RECONCILER_STATUSES__FAILED", "syncing")

    line = refusal(f"{ORDERS}statuses.running = 'syncing'")

    assert line.startswith("reconciler.toml: targets.orders.statuses.running and RECONCILER_STATUS")
    assert refusal(ORDERS + "statuses.completed = ''\n[statuses]\nrunning = 'syncing'").startswith(
        "target orders: reconciler.toml: statuses.running and RECONCILER_STATUSES__FAILED: "
    )


def test_a_target_without_a_database_says_what_to_set(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("DATABASE_URL")
    text = f"[targets.other]\ndatabase_url = '{URL}'\n{ORDERS}temporal_address = 't:1'\n"

    assert refusal(text) == (
        "target orders: DATABASE_URL is not set: "
        "set database_url or database_url_file in [targets.orders]"
    )
    assert [each.target for each in load_targets("other")] == ["other"]
    assert refusal(ORDERS).endswith("; TEMPORAL_ADDRESS is not set: give Temporal's host:port, or "
                                    "a TEMPORAL_PROFILE")  # fmt: skip


@pytest.mark.parametrize(
    "name", ["RECONCILER_TARGETS__ORDERS__TABLE", "RECONCILER_TARGETS", "RECONCILER_TARGET"]
)
def test_a_variable_cannot_be_a_target(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setenv(name, "orders")

    assert refusal(ORDERS) == (
        f"{name} (environment): there is no such setting, "
        "targets are sections of reconciler.toml, such as [targets.orders]"
    )


@pytest.mark.parametrize("name", ["exports", "Orders", "orders "])
def test_an_unknown_target_is_rejected(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    expected = f"target {name}: reconciler.toml has no such target: it has "

    assert refusal(f"{ORDERS}[targets.b]", only=name) == f"{expected}orders, b"
    assert refusal("table = 'a'", only=name) == f"{expected}no [targets.NAME] section"
    assert refusal(ORDERS, only="") == "--target is empty: name a target of reconciler.toml"

    monkeypatch.setenv("RECONCILER_CONFIG", "jobs.toml")
    Path("jobs.toml").write_text(ORDERS)
    assert refusal(ORDERS, only="b").startswith("target b: jobs.toml has no such target: ")
