"""Several targets: as in a company with a few, and as many as one process serves."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

from reconciler.app.overview.model import AtRisk, Overview, Stuck
from tests.support.page import views
from tests.support.page.source import FakeSource
from tests.support.page.views import NOW, before


def few() -> dict[str, Overview]:
    """One in each state."""
    return {
        "orders": _quiet("orders", "shop", total=204),
        "exports": replace(views.failing(), table="exports", namespace="shop"),
        "billing-eu": replace(views.overview(), table="billing.invoices", namespace="billing-eu"),
        "billing-us": replace(
            views.standby(), table="billing.invoices", namespace="billing-us", at_risk=_no_risk()
        ),
        "imports": replace(views.not_running(), table="imports"),
        "signups": replace(views.starting(), table="accounts.signups", namespace="accounts"),
    }


def many(count: int = 20) -> dict[str, Overview]:
    """Of which one fails."""
    names = [f"region-{number:02}-orders" for number in range(1, count)]
    return {
        **{name: _quiet("orders", name.removesuffix("-orders"), total=7) for name in names},
        "exports": replace(views.failing(), table="exports", namespace="shop"),
    }


def sources(of: dict[str, Overview]) -> dict[str, FakeSource]:
    return {name: FakeSource(view) for name, view in of.items()}


def _quiet(table: str, namespace: str, total: int) -> Overview:
    return views.overview(
        table=table,
        namespace=namespace,
        repaired=replace(views.repaired(), total=total),
        stuck=Stuck(groups=(), rows=0, groups_left_out=0, checked_at=before(minutes=4)),
        at_risk=_no_risk(),
        working=views.working(last_good_at=NOW - timedelta(seconds=4)),
    )


def _no_risk() -> AtRisk:
    return AtRisk(rows=(), counts={}, retention=timedelta(days=3))
