"""Every setting, with its type, its default and its meaning.

Below `app` there are only plain values. Temporal's own variables (TEMPORAL_*) are read by
Temporal's own code, in `temporal.config`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import timedelta
from enum import StrEnum
from typing import Annotated

from pydantic import BaseModel, Field
from pydantic.fields import FieldInfo

from reconciler.core.policy import MissingPolicy, Policy
from reconciler.core.report.request import PassOptions
from reconciler.host.files import read_secret
from reconciler.postgres.connection.socket_options import read_link
from reconciler.postgres.diagnose.ends import End, possible_ends
from reconciler.settings.database_url import DatabaseUrl, parse_database_url
from reconciler.settings.page import PageSettings
from reconciler.settings.sources import PREFIX, RawSetting
from reconciler.settings.table import TableSettings
from reconciler.settings.temporal import temporal_environment, temporal_settings
from reconciler.settings.types import (
    Duration,
    Ignored,
    Port,
    ProxyUrl,
    Rate,
    Switch,
    between,
)

#: The path to a setting through the models, such as ("columns", "run_id").
FieldPath = tuple[str, ...]


class LogFormat(StrEnum):
    """The format of log lines."""

    CONSOLE = "console"
    JSON = "json"


class LogLevel(StrEnum):
    """The least severe log lines to show."""

    DEBUG = "debug"
    INFO = "info"
    WARNING = "warning"
    ERROR = "error"


class DatabaseSettings(TableSettings):
    """The table, and the database it is in."""

    database_url: DatabaseUrl = Field(
        description="The application's database: postgresql://user:password@host:5432/database. "
        "A driver in it (postgresql+psycopg) is ignored. Percent-encode special characters in user "
        "and password."
    )
    database_url_file: str | None = Field(
        None,
        description="A file that contains the database URL, instead of DATABASE_URL. It is read "
        "again for each new connection, so a rotated password needs no restart.",
    )

    @property
    def connect_timeout(self) -> int:
        """Seconds, if the URL says so; else 0."""
        return read_link(self.database_url.get_secret_value()).connect_timeout or 0

    def dsn(self) -> Callable[[], str]:
        """A function that returns the current URL; a file is read again, as it may be rotated."""
        if (file := self.database_url_file) is not None:
            name = f"target {self.target}: DATABASE_URL_FILE".removeprefix("target : ")
            return lambda: parse_database_url(read_secret(name, file))
        return self.database_url.get_secret_value


class Settings(DatabaseSettings, PageSettings):
    """Everything an operator can set, apart from Temporal's own variables."""

    batch_size: Annotated[int, Field(ge=1, le=10_000)] = Field(
        500, description="Rows per page and per write, 1 to 10000."
    )
    concurrency: Annotated[int, Field(ge=1, le=1000)] = Field(
        16, description="Rows that a pass asks Temporal about at the same time, 1 to 1000."
    )
    max_rps: Rate = Field(
        100,
        description="Calls to Temporal per second, at least 1; 0 for no limit. The default is 4 % "
        "of one Temporal frontend's quota, which leaves the rest to your workers.",
    )
    visibility_rps: Rate = Field(
        5,
        description="List calls to Temporal per second, at least 1; 0 for no separate limit. They "
        "also count towards MAX_RPS. The default is half of Temporal's own quota for them.",
    )
    full_sweep_interval: Duration = Field(
        timedelta(minutes=10),
        description="How long a round of the sweep takes, in which every row is described "
        "regardless of what visibility reports, because visibility may lag. Longer if a quarter of "
        "MAX_RPS is too little. 0 describes every row in every pass.",
    )
    grace: Duration = Field(
        timedelta(seconds=60),
        description="Rows younger than this are skipped if Temporal does not know their workflow, "
        "or if they have no run id, because either may be about to follow.",
    )
    missing: MissingPolicy = Field(
        MissingPolicy.LEAVE,
        description="What to do with rows whose workflow Temporal does not know: leave or fail.",
    )
    max_missing_ratio: Annotated[float, Field(ge=0, le=1)] = Field(
        0.5,
        description="With MISSING=fail: if a larger share of the rows than this is missing, none "
        "of them is failed, because the namespace may be wrong. Of fewer than 20 rows none is "
        "failed unless this pass or an earlier one found a workflow in the namespace. 1: always.",
    )
    # Not 0, which would be a busy loop.
    interval: Annotated[Duration, between("1s", "365d")] = Field(
        timedelta(seconds=30),
        description="For run: from the start of one pass to the start of the next, at least 1s. "
        "A pass describes its share of the rows in the sweep; without the feed it reads all rows.",
    )
    feed_interval: Annotated[Duration, between("1s", "1h", or_zero=True)] = Field(
        timedelta(seconds=5),
        description="For run: how often visibility is asked which workflows have closed, from 1s "
        "to 1h; 0: never, so that each pass reads all rows. Each poll makes five list calls per "
        "namespace.",
    )
    journal: Switch = Field(
        default=True,
        description="on or off. With off there is no schema reconciler in the database, and so no "
        "undo, no history and no lease: every replica of run makes passes.",
    )
    # An hour leaves time to look at a pass before its changes are deleted.
    journal_retention: Annotated[Duration, between("1h", "36500d")] = Field(
        timedelta(days=90),
        description="How long the journal is kept, for the commands changes and undo; at least 1h.",
    )
    http_host: Annotated[str, Field(min_length=1)] = Field(
        "127.0.0.1",
        description="For run: the address on which the page, health and metrics are served; "
        "0.0.0.0 for all.",
    )
    http_port: Port = Field(
        8080,
        description="For run: the port of the page, health and metrics; 0 for a free one, which is "
        "logged.",
    )
    task_queue: Annotated[str, Field(min_length=1, max_length=900)] = Field(
        "reconciler",
        description="For worker and backfill --distribute: the task queue of the distributed "
        "backfill.",
    )
    worker_namespace: Annotated[str, Field(min_length=1)] | None = Field(
        None,
        description="For worker and backfill --distribute: the Temporal namespace in which the "
        "distributed backfill runs; TEMPORAL_NAMESPACE if not set.",
    )
    temporal_proxy: ProxyUrl | None = Field(
        None, description="The HTTP proxy for Temporal: http://[user:password@]host:port."
    )
    ignore: Ignored = Field(
        (),
        description="Variables of other programs that begin with RECONCILER_, separated by commas; "
        "a * at the end stands for any ending, as in RECONCILER_JOB_*. Commands reject every other "
        "name that is not a setting.",
    )
    log_level: LogLevel = Field(
        LogLevel.INFO,
        description="The least severe log lines to show: debug, info, warning or error.",
    )
    log_format: LogFormat = Field(
        LogFormat.CONSOLE,
        description="The format of log lines: console or json. The container image sets json.",
    )

    def temporal_environment(self) -> Mapping[str, str]:
        """The TEMPORAL_* variables of this target. Raises `ConfigurationError`."""
        return temporal_environment(self.target)

    def temporal_settings(self) -> Mapping[str, RawSetting]:
        """The same with the place of each, to show them."""
        return temporal_settings(self.target)

    @property
    def proxy_url(self) -> str | None:
        """The URL of the proxy for Temporal, with its password."""
        return None if self.temporal_proxy is None else self.temporal_proxy.get_secret_value()

    def policy(self, retention: timedelta, column_length: int | None) -> Policy:
        """The policy, given the namespace's retention and the length of the message's column."""
        return Policy(
            retention=retention,
            grace=self.grace,
            missing=self.missing,
            max_missing_ratio=self.max_missing_ratio,
            error_message_limit=self.message_limit(column_length),
            statuses=self.status_values(),
        )

    def ends(self, column_length: int | None) -> Sequence[End]:
        """The ends that a pass may write, given the length of the message's column."""
        limit, fails = self.message_limit(column_length), self.missing is MissingPolicy.FAIL
        return possible_ends(self.status_values(), limit, fails_missing=fails)

    def list_limits(self) -> Mapping[str, float]:
        """What limits list calls per second, by setting; 0: no limit."""
        return {
            "RECONCILER_VISIBILITY_RPS": self.visibility_rps,
            "RECONCILER_MAX_RPS": self.max_rps,
        }

    def pass_options(self) -> PassOptions:
        """The options of a pass over every row."""
        return PassOptions(
            batch_size=self.batch_size,
            concurrency=self.concurrency,
            full_sweep_interval=self.full_sweep_interval,
        )


def fields(kind: type[BaseModel], path: FieldPath = ()) -> Iterator[tuple[FieldPath, FieldInfo]]:
    """Each setting, including those in sections."""
    for name, field in kind.model_fields.items():
        section = field.annotation
        if isinstance(section, type) and issubclass(section, BaseModel):
            yield from fields(section, (*path, name))
        else:
            yield (*path, name), field


def environment_name(path: FieldPath) -> str:
    """The variable of a setting: RECONCILER_COLUMNS__RUN_ID for ("columns", "run_id")."""
    name = "__".join(path).upper()
    return name if name.startswith("DATABASE_URL") else PREFIX + name


def toml_key(path: FieldPath) -> str:
    """The key of a setting in `reconciler.toml`: columns.run_id."""
    return ".".join(path)
