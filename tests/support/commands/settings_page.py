"""Writes docs/settings.md from the descriptions of the settings; `--check` fails if it is stale."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

from pydantic import BaseModel

from reconciler.settings.display import display_value
from reconciler.settings.failures import FailureSettings
from reconciler.settings.model import (
    DatabaseSettings,
    Settings,
    environment_name,
    fields,
    toml_key,
)
from reconciler.settings.page import PageSettings
from reconciler.settings.table import TableSettings

PAGE = Path(__file__).parents[3] / "docs" / "settings.md"

START = """\
# Settings

<!-- Written by `make docs` from the descriptions in reconciler/settings. -->

Each setting is an environment variable, or a key in `reconciler.toml`. They are read once, at the
start, from

1. the environment,
2. `.env` in the current folder, as `NAME=value` lines,
3. `reconciler.toml` in the current folder, or the file that the variable `RECONCILER_CONFIG` names,
4. files in `/run/secrets`, for [mounted secrets](security.md#secrets).

The first place that has a setting wins. A name that does not exist is rejected, so a typo cannot
become a silent default; `RECONCILER_IGNORE` lists names of other programs. (What Kubernetes puts
into the environment for a Service called `reconciler` is known and ignored.) [`reconciler
doctor`](doctor.md) shows which settings differ from the defaults, and where each comes from.

**Several tables, databases or clusters** get a section each, `[targets.NAME]`, with any setting
that is not about the whole process. It wins over all of the places above: [targets](targets.md).

**From a variable to a key of `reconciler.toml`:** drop `RECONCILER_` and write the rest in lower
case; what comes before `__` is a section. `RECONCILER_GRACE=5m` and
`RECONCILER_COLUMNS__ID=job_id` become

```toml
grace = "5m"

[columns]
id = "job_id"
```

**Durations** are seconds, or `30s`, `5m`, `2h`, `7d`.

"""

SECTIONS = (
    (
        DatabaseSettings,
        """\
## The database

For TLS, libpq's variables `PGSSLMODE`, `PGSSLROOTCERT`, `PGSSLCERT` and `PGSSLKEY`, which must be
in the environment, or the same parameters in the URL: [TLS to
PostgreSQL](security.md#tls-to-postgresql).
""",
    ),
    (
        None,
        """\
## Temporal

Temporal's own variables and its `temporal.toml`: `TEMPORAL_ADDRESS`, `TEMPORAL_NAMESPACE`,
`TEMPORAL_API_KEY`, `TEMPORAL_API_KEY_FILE`, `TEMPORAL_TLS*`, `TEMPORAL_GRPC_META_*`,
`TEMPORAL_PROFILE`, `TEMPORAL_CONFIG_FILE`. They can be in the environment, in `.env`, or in
`reconciler.toml` as `temporal_address` and so on: [connecting to Temporal](temporal.md).
""",
    ),
    (
        TableSettings,
        """\
## The table

`columns.*` are the names of columns, `statuses.*` values of the status column: [your
table](tables.md).
""",
    ),
    (
        Settings,
        """\
## Passes and the loop

The rates: [beside your workers](temporal.md#beside-your-workers),
[screening](temporal.md#screening). Without a journal: [what is
lost](security.md#without-our-schema).
""",
    ),
    (
        PageSettings,
        """\
## The page

What it shows, and who may see it: [the page](page.md).
""",
    ),
    (
        FailureSettings,
        """\
## Failure texts

[Encrypted failures](encryption.md), [personal data](encryption.md#personal-data).
""",
    ),
)


def page() -> str:
    """The text of the page."""
    return START + "\n".join(
        text + ("" if kind is None else "\n" + "".join(_table(kind))) for kind, text in SECTIONS
    )


def _table(kind: type[BaseModel]) -> Iterator[str]:
    """The table of the settings that this class adds to the ones it inherits."""
    yield "| variable | in `reconciler.toml` | default | |\n|---|---|---|---|\n"
    for path, field in fields(Settings):
        if path[0] in kind.__annotations__:
            default = field.get_default()
            value = (
                f"`{display_value(path, default)}`" if default and not field.is_required() else "–"
            )
            names = f"`{environment_name(path)}` | `{toml_key(path)}`"
            yield f"| {names} | {value} | {field.description} |\n"


def main(arguments: Sequence[str]) -> None:
    """Write the page, or check it."""
    if "--check" not in arguments:
        PAGE.write_text(page())
    elif not PAGE.exists() or PAGE.read_text() != page():
        sys.exit(f"{PAGE.name} is stale: run make docs")


if __name__ == "__main__":
    main(sys.argv[1:])
