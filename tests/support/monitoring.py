"""The queries of the alerts and the dashboard, checked against a scrape.

Nothing else compiles these queries: if a metric or a label were renamed, a panel would stay empty
and an alert would never fire. Each query is walked as a tree, from the labels that its legend or
annotations show to the metrics that must have them.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import promql_parser as promql
import yaml
from prometheus_client.parser import text_string_to_metric_families

DEPLOY = Path(__file__).parents[2] / "deploy"
ALERTS = DEPLOY / "prometheus" / "alerts.yml"
DASHBOARD = DEPLOY / "grafana" / "dashboard.json"

#: Metrics that Prometheus adds; no scrape has them.
BUILT_IN = {"up", "ALERTS"}
#: Labels that Prometheus adds; no scrape has them.
ADDED = {"namespace", "job", "instance"}
#: The label of what is about a target of reconciler.toml, where there are any.
TARGET = "target"
#: Values for Grafana's variables. Any other dollar sign is an error.
VARIABLES = {
    "$__rate_interval": "5m",
    "$__range": "6h",
    "$job": "reconciler",
    "$instance": ".*",
    "$target": ".*",
}

#: Functions whose results lack their arguments' labels.
_WITHOUT_LABELS = {"absent", "absent_over_time", "scalar", "time", "vector"}
#: Functions that add or remove labels, which `_walk` does not support.
_UNSUPPORTED = {"label_replace", "label_join"}
_NONE: frozenset[str] = frozenset()


class LabelLost(Exception):
    """The query aggregates away a label that is needed."""


@dataclass(frozen=True, slots=True)
class Query:
    """An expression, and the labels that its result must have."""

    where: str
    expression: str
    shown: frozenset[str] = _NONE


@dataclass(frozen=True, slots=True)
class Selector:
    """A metric, by the name of its samples, and the labels that the query needs it to have."""

    name: str
    labels: frozenset[str]
    #: The values that its matchers compare with, by label.
    matched: Mapping[str, str]


def all_queries() -> list[Query]:
    """The queries of both files."""
    return [*alert_queries(load_alerts()), *dashboard_queries(load_dashboard())]


def load_alerts() -> list[dict[str, Any]]:
    loaded = yaml.safe_load(ALERTS.read_text(encoding="ascii"))
    return [rule for group in loaded["groups"] for rule in group["rules"]]


def load_dashboard() -> dict[str, Any]:
    loaded: dict[str, Any] = json.loads(DASHBOARD.read_text(encoding="utf-8"))
    return loaded


def alert_queries(rules: Sequence[Mapping[str, Any]]) -> Iterator[Query]:
    for rule in rules:
        shown = re.findall(r"\$labels\.(\w+)", " ".join(rule["annotations"].values()))
        yield Query(f"alert {rule['alert']}", rule["expr"], frozenset(shown))


def dashboard_queries(dashboard: Mapping[str, Any]) -> Iterator[Query]:
    for variable in dashboard["templating"]["list"]:
        if variable["type"] == "query":
            # label_values(selector, label) is Grafana's own.
            call = variable["query"]["query"].removeprefix("label_values(").removesuffix(")")
            expression, _, label = call.rpartition(", ")
            yield Query(f"variable {variable['name']}", filled_in(expression), frozenset([label]))
    for panel in panels(dashboard):
        for target in panel.get("targets", ()):
            shown = re.findall(r"{{\s*(\w+)\s*}}", target.get("legendFormat", ""))
            where = f"panel {panel['title']!r}, {target['refId']}"
            yield Query(where, filled_in(target["expr"]), frozenset(shown))


def panels(dashboard: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """Every panel, also those in collapsed rows."""
    for panel in dashboard["panels"]:
        yield panel
        yield from panel.get("panels", ())


def filled_in(expression: str) -> str:
    """The expression as Grafana sends it."""
    for name, value in VARIABLES.items():
        expression = expression.replace(name, value)
    if "$" in expression:
        raise ValueError(f"unknown variable: {expression}")
    return expression


def selectors(query: Query) -> list[Selector]:
    """The metrics that it uses. Raises `LabelLost`, and `ValueError` for invalid PromQL."""
    try:
        return list(_walk(promql.parse(query.expression), query.shown))
    except (LabelLost, ValueError) as error:
        raise type(error)(f"{query.where}: {error}") from None


def missing_from(scrape: str, queries: Sequence[Query] | None = None) -> list[str]:
    """What the queries use and this scrape does not have, one line each.

    A metric needs a sample, because a TYPE line alone shows no labels.
    """
    labels_by_name: dict[str, set[str]] = {}
    for family in text_string_to_metric_families(scrape):
        for sample in family.samples:
            labels_by_name.setdefault(sample.name, set()).update(sample.labels)
    missing = []
    for query in all_queries() if queries is None else queries:
        for used in selectors(query):
            if used.name in BUILT_IN:
                continue
            if used.name not in labels_by_name:
                missing.append(f"{query.where}: there is no {used.name}")
                continue
            absent = used.labels - ADDED - {TARGET} - labels_by_name[used.name]
            missing += [f"{query.where}: {used.name} has no {label}" for label in sorted(absent)]
    return missing


def _walk(node: promql.Expr, wanted: frozenset[str]) -> Iterator[Selector]:
    """The selectors below this node, whose result must have the `wanted` labels."""
    match node:
        case promql.VectorSelector():
            yield _selector(node, wanted)
        case promql.MatrixSelector():
            yield _selector(node.vector_selector, wanted)
        case promql.ParenExpr() | promql.UnaryExpr() | promql.SubqueryExpr():
            yield from _walk(node.expr, wanted)
        case promql.AggregateExpr():
            yield from _walk(node.expr, _grouped(node, wanted))
        case promql.BinaryExpr():
            left, right = _matched(node, wanted)
            yield from _walk(node.lhs, left)
            yield from _walk(node.rhs, right)
        case promql.Call():
            for argument in node.args:
                yield from _walk(argument, _passed_on(node.func.name, wanted))
        case promql.NumberLiteral() | promql.StringLiteral():
            return
        case _:
            raise NotImplementedError(type(node).__name__)


def _selector(node: promql.VectorSelector, wanted: frozenset[str]) -> Selector:
    if node.name is None or node.matchers.or_matchers:
        raise NotImplementedError(str(node))
    matched = {matcher.name: matcher.value for matcher in node.matchers.matchers}
    return Selector(node.name, wanted | matched.keys(), matched)


def _grouped(node: promql.AggregateExpr, wanted: frozenset[str]) -> frozenset[str]:
    """The labels that an aggregation needs: those after `by`, since it drops all others."""
    if node.modifier is not None and node.modifier.type != promql.AggModifierType.By:
        raise NotImplementedError("without")
    return _remaining(frozenset(node.modifier.labels) if node.modifier else _NONE, wanted, node)


def _remaining(left: frozenset[str], wanted: frozenset[str], node: promql.Expr) -> frozenset[str]:
    """The labels that are left. Raises `LabelLost` unless they include the wanted ones."""
    if wanted - left:
        raise LabelLost(f"no {', '.join(sorted(wanted - left))} is left by {node.prettify()}")
    return left


def _matched(
    node: promql.BinaryExpr, wanted: frozenset[str]
) -> tuple[frozenset[str], frozenset[str]]:
    """The labels that an operator needs on its left and on its right side."""
    modifier = node.modifier
    matching = modifier.matching if modifier else None
    labels = frozenset(matching.labels) if matching else _NONE
    on = labels if matching and matching.type == promql.LabelModifierType.Include else _NONE
    if str(node.op) in {"and", "unless"}:  # the right side only filters
        return wanted | on, on
    if modifier is None or matching is None or str(node.op) == "or":
        return wanted | on, wanted | on
    if modifier.card == promql.VectorMatchCardinality.ManyToOne and not modifier.group_labels:
        return wanted | labels, on
    if modifier.card == promql.VectorMatchCardinality.OneToOne and on:
        return _remaining(on, wanted, node), on
    raise NotImplementedError(node.prettify())


def _passed_on(function: str, wanted: frozenset[str]) -> frozenset[str]:
    if function in _UNSUPPORTED:
        raise NotImplementedError(function)
    if function == "histogram_quantile":
        return wanted | {"le"}
    return _NONE if function in _WITHOUT_LABELS else wanted
