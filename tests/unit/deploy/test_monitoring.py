"""Alerts and dashboard are complete and use metrics that exist. promtool tests when alerts fire."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta
from itertools import combinations
from typing import Any

import pytest
import yaml
from prometheus_client import Metric
from prometheus_client.samples import Sample
from temporalio.service import RPCStatusCode

from reconciler.core.missed_writes import FOUND_BY
from reconciler.core.model import LeaveReason, Mode
from reconciler.core.report.pass_report import PassOutcome, PassReport
from reconciler.core.report.request import PassRequest
from reconciler.core.report.sweep import Round
from reconciler.core.report.tally import Tally
from reconciler.core.stuck.condition import Reason
from reconciler.web.metrics.feed import FeedCollector, FeedGauges, FollowedNamespace
from reconciler.web.metrics.gauges import Gauges, GaugesCollector
from reconciler.web.metrics.passes import PassMetrics
from reconciler.web.metrics.stuck import StuckCollector, StuckGauges
from reconciler.web.metrics.targets import process_registry
from tests.support.factories import CLOSE_TIME, NOW, outcome, row
from tests.support.monitoring import (
    ALERTS,
    DEPLOY,
    TARGET,
    LabelLost,
    Query,
    alert_queries,
    all_queries,
    dashboard_queries,
    filled_in,
    load_alerts,
    load_dashboard,
    missing_from,
    panels,
    selectors,
)

DOCUMENT = DEPLOY.parent / "docs" / "metrics.md"
#: Values that matchers may compare with; any other value would never match.
VALUES = {
    "mode": {Mode.RUN.value, Mode.FEED.value},
    "by": {*FOUND_BY},
    "state": {"pending", "late"},
    "outcome": {outcome.value for outcome in PassOutcome},
    "reason": {*LeaveReason, *Reason},
    "code": {code.name for code in RPCStatusCode} | {"OK"},
    "alertstate": {"firing"},
}


@dataclass(frozen=True)
class Documented:
    name: str
    type: str
    labels: frozenset[str]

    def samples(self) -> Iterator[tuple[str, frozenset[str]]]:
        """The names and labels of its samples in a scrape."""
        if self.type != "histogram":
            yield self.name, self.labels
            return
        yield f"{self.name}_bucket", self.labels | {"le"}
        yield f"{self.name}_sum", self.labels
        yield f"{self.name}_count", self.labels


def documented() -> dict[str, Documented]:
    """The metrics in all tables of the document."""
    found = {}
    for line in DOCUMENT.read_text(encoding="utf-8").splitlines():
        cells = [cell.strip() for cell in line.split("|")]
        if len(cells) == 7 and cells[2] in {"counter", "gauge", "histogram"}:
            name = cells[1].strip("`")
            assert name not in found, f"{name} is there twice"
            found[name] = Documented(name, cells[2], frozenset(re.findall(r"`(\w+)`", cells[3])))
    return found


def scrape(*metrics: Documented) -> str:
    """A scrape with one series of each metric."""
    lines = []
    for metric in metrics:
        lines.append(f"# TYPE {metric.name} {metric.type}")
        for name, labels in metric.samples():
            given = ",".join(f'{label}="{1 if label == "le" else "x"}"' for label in sorted(labels))
            lines.append(f"{name}{{{given}}} 1")
    return "\n".join(lines) + "\n"


SMALL = scrape(
    Documented("passes_total", "counter", frozenset({"mode", "outcome"})),
    Documented("held", "gauge", frozenset()),
    Documented("seconds", "histogram", frozenset({"mode"})),
)


def test_every_metric_and_label_in_use_is_documented() -> None:
    assert missing_from(scrape(*documented().values())) == []


def test_every_query_about_a_target_keeps_targets_apart_or_filters_by_them() -> None:
    for query in all_queries():
        for used in selectors(query):
            is_about_target = used.name.startswith("reconciler_")
            if is_about_target and used.name != "reconciler_build_info":
                assert TARGET in used.labels or not used.labels or "variable" in query.where, (
                    f"{query.where}: {used.name}"
                )


def test_each_alert_about_a_target_names_it() -> None:
    for query in alert_queries(load_alerts()):
        is_about_process = query.where in ("alert ReconcilerDown", "alert ReconcilerReplicaDown")
        assert (TARGET in query.shown) is not is_about_process, query.where


def test_every_value_a_matcher_compares_with_exists() -> None:
    for query in all_queries():
        for used in selectors(query):
            for label in used.matched.keys() & VALUES.keys():
                unknown = set(used.matched[label].split("|")) - VALUES[label]
                assert not unknown, f"{query.where}: {label} is never {unknown}"


@pytest.mark.parametrize(
    ("query", "missing"),
    [
        ('passes_total{outcom="ok"}', "passes_total has no outcom"),
        ("rate(pass_total[5m])", "there is no pass_total"),
        ("sum by (job, reson) (rate(passes_total[5m]))", "passes_total has no reson"),
        ("passes_total offset 1h unless on (job, mode) held", "held has no mode"),
        ("max(held and on (job, outcome) passes_total)", "held has no outcome"),
        ("seconds", "there is no seconds"),
        ("seconds_sum / on (job, mode) seconds_total", "there is no seconds_total"),
        ("histogram_quantile(0.9, rate(passes_total[5m]))", "passes_total has no le"),
        ("rate(passes_total[5m]) / ignoring (reason) group_left sum(held)", "has no reason"),
        ("max_over_time(sum by (mode) (-held)[1h:1m])", "held has no mode"),
    ],
)
def test_what_a_scrape_lacks_is_reported(query: str, missing: str) -> None:
    (line,) = missing_from(SMALL, [Query("panel 'Passes', A", query)])

    assert line.startswith("panel 'Passes', A: ")
    assert missing in line


def test_what_a_scrape_has_is_not_reported() -> None:
    queries = [
        'sum by (namespace, outcome) (increase(passes_total{mode="run"}[5m])) > 0 or vector(0)',
        "histogram_quantile(0.9, sum by (mode, le) (rate(seconds_bucket[5m]))) < scalar(held)",
        "up == 0 and on (job, instance) held unless absent(seconds_count)",
    ]
    assert missing_from(SMALL, [Query("", query) for query in queries]) == []


def test_a_metric_without_samples_is_missing() -> None:
    assert missing_from("# TYPE held gauge\n", [Query("alert", "held")]) == [
        "alert: there is no held"
    ]


@pytest.mark.parametrize(
    "query", ["sum(passes_total)", "max by (job) (passes_total)", "held * on (job) passes_total"]
)
def test_a_label_that_is_shown_must_not_be_aggregated_away(query: str) -> None:
    with pytest.raises(LabelLost, match="alert: no mode is left by"):
        selectors(Query("alert", query, shown=frozenset({"mode"})))


@pytest.mark.parametrize("query", ["sum(", "rate(passes_total)", "passes_total{job=}"])
def test_invalid_promql_is_rejected(query: str) -> None:
    with pytest.raises(ValueError, match="alert: "):
        selectors(Query("alert", query))


def test_an_unknown_variable_is_rejected() -> None:
    with pytest.raises(ValueError, match="unknown variable"):
        filled_in('held{job="$jobs", pod="$pod"}')


async def test_the_document_describes_each_metric() -> None:
    """Except those of the SDK, which need a server."""
    registry = process_registry()
    await count_something(PassMetrics(registry, "run"))
    moment = timedelta(seconds=1)
    calls = {("describe", "OK"): 1}
    registry.register(
        GaugesCollector(
            lambda: Gauges(True, moment, NOW, moment, 1.0, calls, undecoded=0, clock_skew=moment)
        )
    )

    followed = FollowedNamespace("default", False, 0, moment, moment, moment)
    registry.register(FeedCollector(lambda: FeedGauges(moment, [followed])))

    counted = {Reason.PAUSED: (1, NOW)}
    registry.register(StuckCollector(lambda: StuckGauges(NOW, counted)))

    shown = {as_shown(family) for family in registry.collect()}
    known = set(documented().values())

    assert shown <= known
    assert {metric for metric in known if metric.name.startswith("reconciler_")} <= shown


async def count_something(metrics: PassMetrics) -> None:
    """Give every metric a series; without one, its labels are unknown."""
    done = Tally(left=Counter({LeaveReason.EXPIRED: 1}), oldest_left=CLOSE_TIME)
    report = PassReport("id", PassRequest("run"), NOW, done=done)
    report.round = Round(3, 3, 600.0, began=True, ended=True)
    await metrics.on_written(report, [outcome(row(), completed_at=CLOSE_TIME)])
    await metrics.on_pass(report)


def as_shown(family: Metric) -> Documented:
    samples: list[Sample] = family.samples
    assert samples, f"{family.name} has no series"
    labels = {label for sample in samples for label in sample.labels}
    name = family.name + "_total" if family.type == "counter" else family.name
    return Documented(name, family.type, frozenset(labels - {"le"}))


@pytest.mark.parametrize("rule", load_alerts(), ids=lambda rule: rule["alert"])
def test_an_alert_has_a_severity_and_a_description(rule: dict[str, Any]) -> None:
    assert re.fullmatch(r"\d+[mh]", rule["for"])
    assert rule["labels"].keys() == {"severity"}
    assert rule["labels"]["severity"] in {"critical", "warning"}
    assert rule["annotations"].keys() == {"summary", "description"}
    assert all(rule["annotations"].values())


def test_each_alert_fires_in_its_promtool_test() -> None:
    tests = ALERTS.with_name("alerts_test.yml").read_text(encoding="ascii")
    names = [rule["alert"] for rule in load_alerts()]

    assert len(set(names)) == len(names)
    assert {*re.findall(r'alertname="(\w+)"', tests)} == {*names}
    assert yaml.safe_load(tests)["rule_files"] == [ALERTS.name]


def test_panels_have_distinct_ids_and_do_not_overlap() -> None:
    places = [(panel["title"], panel["gridPos"]) for panel in panels(load_dashboard())]

    assert len({panel["id"] for panel in panels(load_dashboard())}) == len(places)

    for title, at in places:
        assert 0 <= at["x"] < at["x"] + at["w"] <= 24, title
    for (one, a), (other, b) in combinations(places, 2):
        beside = a["x"] + a["w"] <= b["x"] or b["x"] + b["w"] <= a["x"]
        above = a["y"] + a["h"] <= b["y"] or b["y"] + b["h"] <= a["y"]
        assert beside or above, f"{one} and {other}"


def test_a_panel_has_a_description_and_queries_the_chosen_data_source() -> None:
    for panel in panels(load_dashboard()):
        if panel["type"] == "row":
            continue
        assert panel["description"], panel["title"]
        sources = [panel["datasource"], *(target["datasource"] for target in panel["targets"])]
        assert {source["uid"] for source in sources} == {"${datasource}"}, panel["title"]
        references = [target["refId"] for target in panel["targets"]]
        assert len(set(references)) == len(references), panel["title"]


def test_every_panel_filters_by_the_chosen_job() -> None:
    assert [variable["name"] for variable in load_dashboard()["templating"]["list"]] == [
        "datasource",
        "job",
        "instance",
        "target",
    ]
    for query in dashboard_queries(load_dashboard()):
        if query.where.startswith("variable"):
            continue
        assert any("job" in used.matched for used in selectors(query)), query.where
