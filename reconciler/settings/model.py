"""Every setting, with its type, its default and its meaning.

Settings stop here and in `app`: everything below gets plain values. Temporal's own variables
(TEMPORAL_*) are read by Temporal's own code, in `temporal.connect`.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from enum import StrEnum
from typing import Annotated

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    model_validator,
)
from pydantic_settings import (
    BaseSettings,
    NoDecode,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    TomlConfigSettingsSource,
)

from reconciler.core.verdict import MissingPolicy, Policy, StatusValues
from reconciler.postgres.tables import TableMapping, TableNames
from reconciler.reconcile import PassOptions
from reconciler.settings.failures import FailureSettings
from reconciler.settings.secret_files import SecretFilesSource, SecretFromFile
from reconciler.settings.values import (
    DatabaseUrl,
    Duration,
    Interval,
    JournalRetention,
    Name,
    OptionalName,
    Port,
    ProxyUrl,
    Rate,
    Switch,
    Values,
    Where,
    normal_database_url,
)

PREFIX = "RECONCILER_"
DOTENV = ".env"
TOML = "reconciler.toml"


class LogFormat(StrEnum):
    """How log lines look."""

    CONSOLE = "console"
    JSON = "json"


class LogLevel(StrEnum):
    """The least severe log lines that are shown."""

    DEBUG = "debug"
    INFO = "info"
    WARNING = "warning"
    ERROR = "error"


class Columns(BaseModel):
    """The names of the columns that are read or written; no other column is touched.

    Empty where the table has none. The descriptions say what is lost then.
    """

    model_config = ConfigDict(extra="forbid")

    id: Name = Field("id", description="primary key, of any orderable type")
    workflow_id: Name = Field("workflow_id", description="Temporal's workflow id")
    run_id: OptionalName = Field("run_id", description="first run of the chain, may be null")
    workflow_type: Name = Field(
        "workflow_type", description="read by backfill --workflow-type alone, may not exist"
    )
    status: Name = Field("status", description="text, varchar or an enum")
    created_at: OptionalName = Field("created_at", description="when the row was inserted")
    completed_at: OptionalName = Field("completed_at", description="gets Temporal's close time")
    error_message: OptionalName = Field("error_message", description="gets the failure in one line")
    namespace: OptionalName = Field(
        None, description="Temporal's namespace, where rows are of several; default: none"
    )

    @model_validator(mode="after")
    def _distinct(self) -> Columns:
        names = [name for name in self.model_dump().values() if name is not None]
        if len(set(names)) < len(names):
            raise ValueError("two columns have the same name")
        if self.run_id is None and self.created_at is None:
            raise ValueError(
                "with neither run_id nor created_at nothing tells one use of a workflow id from "
                "the next, and no row could be judged"
            )
        return self


class Statuses(BaseModel):
    """The values of the status column."""

    model_config = ConfigDict(extra="forbid")

    running: Annotated[Values, NoDecode] = Field(
        ("running",), description="rows with this value are looked at; several: pending,running"
    )
    completed: Name = Field("completed", description="written for COMPLETED")
    failed: Name = Field("failed", description="written for FAILED")
    canceled: Name | None = Field(None, description="written for CANCELED; default: failed")
    terminated: Name | None = Field(None, description="written for TERMINATED; default: failed")
    timed_out: Name | None = Field(None, description="written for TIMED_OUT; default: failed")

    @model_validator(mode="after")
    def _ends(self) -> Statuses:
        ends = (self.completed, self.failed, self.canceled, self.terminated, self.timed_out)
        if set(self.running) & set(ends):
            raise ValueError("a row that has ended cannot have the value of one that is running")
        return self


class TableSettings(FailureSettings, BaseSettings):
    """The application's table: all that the main path needs where it is given an engine."""

    model_config = SettingsConfigDict(
        env_prefix=PREFIX,
        env_nested_delimiter="__",
        env_file=DOTENV,
        toml_file=TOML,
        extra="ignore",  # unknown names are found by settings.load, with a better message
        populate_by_name=True,
    )

    table: Annotated[str, Field(pattern=r"^[^.\s]+(\.[^.\s]+)?$")] = Field(
        "workflow_executions", description="the application's table, schema.table if need be"
    )
    columns: Columns = Field(default_factory=Columns)
    statuses: Statuses = Field(default_factory=Statuses)
    where: Annotated[Where, NoDecode] = Field(
        None, description="column=value,value: other rows are never looked at; default: all"
    )
    error_message_limit: Annotated[int, Field(ge=1, le=1_000_000)] = Field(
        2000, description="characters of error_message that are kept"
    )

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,  # noqa: ARG003
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """First wins: arguments, environment, .env, reconciler.toml. A secret has one place."""
        files, toml = SecretFilesSource(settings_cls), TomlConfigSettingsSource(settings_cls)
        return init_settings, files, env_settings, dotenv_settings, toml

    def table_mapping(self) -> TableMapping:
        """How the application's table is to be understood."""
        schema, _, table = self.table.rpartition(".")
        names = TableNames(table=table, schema=schema or None, **self.columns.model_dump())
        return TableMapping(names, self.status_values(), self.where)

    def status_values(self) -> StatusValues:
        """The status column's values; what is not set counts as failed."""
        values = self.statuses.model_dump()
        return StatusValues(**{name: value or values["failed"] for name, value in values.items()})

    def message_limit(self, column_length: int | None) -> int:
        """Characters of error_message that are kept, given the length of its column."""
        limit = self.error_message_limit
        return min(limit, column_length or limit)


class DatabaseSettings(TableSettings):
    """The table, and the database it is in."""

    database_url: DatabaseUrl = Field(
        validation_alias="DATABASE_URL", description="the application's database"
    )

    def dsn(self) -> Callable[[], str]:
        """What tells the URL: as it is by now, where it is in a file that may be rotated."""
        url = self.database_url
        if isinstance(url, SecretFromFile):
            return lambda: normal_database_url(url.file.read())
        return url.get_secret_value


class Settings(DatabaseSettings):
    """Everything an operator can set, apart from Temporal's own variables."""

    batch_size: Annotated[int, Field(ge=1, le=10_000)] = Field(
        500, description="rows per page read and per statement written"
    )
    concurrency: Annotated[int, Field(ge=1, le=1000)] = Field(
        16, description="rows asked about at the same time"
    )
    max_rps: Rate = Field(100, description="calls to Temporal per second, 1 or more; 0 = no limit")
    grace: Duration = Field(
        timedelta(seconds=60), description="rows younger than this may still be about to start"
    )
    missing: MissingPolicy = Field(
        MissingPolicy.LEAVE, description="rows whose workflow Temporal does not know: leave, fail"
    )
    max_missing_ratio: Annotated[float, Field(ge=0, le=1)] = Field(
        0.5, description="share of missing rows above which none of them is finished"
    )
    interval: Interval = Field(
        timedelta(seconds=30), description="from the start of one pass of the loop to the next"
    )
    journal: Switch = Field(
        default=True, description="on, off: whether anything of ours is kept in the database"
    )
    journal_retention: JournalRetention = Field(
        timedelta(days=90), description="how long changes are kept, for explaining and undoing"
    )
    http_host: Annotated[str, Field(min_length=1)] = Field(
        "127.0.0.1", description="where the loop serves health and metrics; 0.0.0.0 for everybody"
    )
    http_port: Port = Field(8080, description="its port; 0 = any free one, see the log")
    temporal_proxy: ProxyUrl | None = Field(
        None, description="the HTTP proxy to Temporal, http://[user:password@]host:port"
    )
    log_level: LogLevel = Field(LogLevel.INFO, description="debug, info, warning, error")
    log_format: LogFormat = Field(LogFormat.CONSOLE, description="console, json")

    @property
    def proxy_url(self) -> str | None:
        """The proxy to Temporal, with its password; None for none."""
        return None if self.temporal_proxy is None else self.temporal_proxy.get_secret_value()

    def policy(self, retention: timedelta, column_length: int | None) -> Policy:
        """The policy, given Temporal's retention and the length of the error message's column."""
        return Policy(
            retention=retention,
            grace=self.grace,
            missing=self.missing,
            max_missing_ratio=self.max_missing_ratio,
            error_message_limit=self.message_limit(column_length),
            statuses=self.status_values(),
            redaction=self.redaction(),
        )

    def pass_options(self, mode: str, *, dry_run: bool) -> PassOptions:
        """The options of a pass."""
        return PassOptions(mode, dry_run, self.batch_size, self.concurrency)
