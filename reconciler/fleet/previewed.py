"""What the operator previewed, and whether a worker would do the same."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator

from reconciler.app.app import App
from reconciler.core.policy import MissingPolicy
from reconciler.core.text import iso
from reconciler.core.window import Window
from reconciler.fleet.messages import Json, Previewed
from reconciler.postgres.connection.identity import database_identity
from reconciler.settings.model import Settings

#: What they are called in a refusal.
_IN_WORDS = {
    "table": "table, or other rows of it",
    "namespace": "namespace",
    "mapping": "mapping of columns and statuses",
    "policy": "policy",
    "texts": "redaction, or decoding of failures",
}


async def preview(app: App, window: Window) -> Previewed:
    """What a backfill by this process would look at, and how. Raises `Unusable`."""
    settings = app.settings
    return Previewed(
        target=settings.target,
        table=app.table.scope,
        namespace=app.namespace.name,
        database=await database_identity(app.engine, app.table.regclass),
        mapping=settings.mapping_as_json(),
        policy=_policy(app),
        texts=_texts(settings),
        since=iso(window.since),
        until=iso(window.until),
        workflow_type=window.workflow_type,
    )


def as_asked(settings: Settings, previewed: Previewed) -> Settings:
    """A worker's settings with what options of the command decide. Raises `ValueError`."""
    policy = previewed.policy
    if not {"missing", "max_missing_ratio"} <= policy.keys():
        return settings
    asked = {
        "missing": MissingPolicy(policy["missing"]),
        "max_missing_ratio": float(policy["max_missing_ratio"]),
    }
    return settings.model_copy(update=asked)


def why_different(previewed: Previewed, own: Previewed) -> str | None:
    """Why a worker must not do what was previewed elsewhere; None if it may."""
    differences = list(_differences(previewed, own))
    return f"this worker has another {', another '.join(differences)}" if differences else None


def _differences(previewed: Previewed, own: Previewed) -> Iterator[str]:
    theirs, ours = previewed.database, own.database
    # Not every role may read all of it.
    if any(theirs[part] != ours[part] for part in theirs.keys() & ours.keys()):
        yield "database"
    for name, words in _IN_WORDS.items():
        # As JSON: a tuple is a list there.
        if _json(getattr(previewed, name)) != _json(getattr(own, name)):
            yield words


def _policy(app: App) -> Json:
    policy = app.policy
    return {
        "missing": policy.missing.value,
        "max_missing_ratio": policy.max_missing_ratio,
        "grace": policy.grace.total_seconds(),
        "error_message_limit": policy.error_message_limit,
    }


def _texts(settings: Settings) -> str:
    """Not the expressions themselves: they may say what is secret."""
    decided = settings.data_converter, settings.codec_endpoint, settings.redact
    return hashlib.sha256(_json(decided).encode()).hexdigest()[:16]


def _json(value: object) -> str:
    return json.dumps(value, sort_keys=True)
