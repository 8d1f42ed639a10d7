"""The settings for the application's table, and how their values are parsed."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PrivateAttr,
    model_validator,
)

from reconciler.core.policy import StatusValues
from reconciler.postgres.table.names import MAX_NAME, TableMapping, TableNames
from reconciler.postgres.table.template import Template
from reconciler.settings.failures import FailureSettings
from reconciler.settings.statuses import Statuses
from reconciler.settings.types import Name, TimeZone, contradiction, none_if_empty
from reconciler.settings.where import Where

_PART = re.compile(r'"((?:[^"]|"")+)"|([^."\s]+)')
_TABLE = re.compile(rf"(?:{_PART.pattern})(?:\.(?:{_PART.pattern}))?")


def split_name(text: str) -> list[str]:
    """The parts of a table's name, without the quotes around those with a dot or a space."""
    return [plain or quoted.replace('""', '"') for quoted, plain in _PART.findall(text)]


def check_table(text: str) -> str:
    """A table's name, with or without its schema."""
    if not _TABLE.fullmatch(text):
        raise ValueError(
            'must be table or schema.table; a name with a dot or a space is quoted, "My App".jobs'
        )
    return text


def check_key(text: str) -> str:
    """A key of a JSON object that people can read."""
    if not text.isprintable():
        raise ValueError("must be printable")
    return text


def check_workflow_id(value: str) -> str:
    """A column, or a template of columns."""
    if any(len(name) > MAX_NAME for name in Template.parse(value).columns):
        raise ValueError(f"has a column whose name is longer than {MAX_NAME} characters")
    return value


#: The settings of columns that passes write.
_WRITTEN = ("status", "completed_at", "error_message", "updated_at")

WorkflowId = Annotated[str, Field(min_length=1, max_length=1000), AfterValidator(check_workflow_id)]
OptionalName = Annotated[Name | None, BeforeValidator(none_if_empty)]


class Columns(BaseModel):
    """The names of the columns that are read or written; no other column is used."""

    model_config = ConfigDict(extra="forbid")

    id: Name = Field(
        "id",
        description="The key: bigint, integer, uuid, text or another type that can be ordered. It "
        "must be the whole primary key, NOT NULL and UNIQUE, or a uuid that is part of such a key.",
    )
    workflow_id: WorkflowId = Field(
        "workflow_id",
        description="Temporal's workflow id: a column, also that of the key, or a template of "
        "columns such as sync-{id} or export/{batch}/{part}. A brace is written twice.",
    )
    run_id: OptionalName = Field(
        "run_id",
        description="The run id of the first run of the chain. Where there is none, times are "
        "compared instead. Empty if there is no such column.",
    )
    workflow_type: Name = Field(
        "workflow_type",
        description="The workflow type. Only backfill --workflow-type reads it, so it need not "
        "exist.",
    )
    status: Name = Field("status", description="The status: text, varchar or an enum.")
    created_at: OptionalName = Field(
        "created_at",
        description="The time at which the row was inserted; UTC if the column has no time zone. "
        "Empty if there is no such column.",
    )
    completed_at: OptionalName = Field(
        "completed_at",
        description="Set to the time at which Temporal closed the workflow. Empty if there is no "
        "such column.",
    )
    error_message: OptionalName = Field(
        "error_message",
        description="Set to the failure, as one line. Empty if there is no such column.",
    )
    updated_at: OptionalName = Field(
        None,
        description="The time of the row's last change, if the application sets it and no trigger "
        "does. Every write sets it to now(). A row that was changed less than RECONCILER_GRACE ago "
        "is left: it may be about to start again.",
    )
    namespace: OptionalName = Field(
        None, description="The row's Temporal namespace, if the table has rows of several."
    )

    @model_validator(mode="after")
    def _distinct(self) -> Columns:
        parts: dict[str, str] = {}
        for part, name in self.model_dump().items():
            if part == "workflow_id" and name == self.id:
                continue  # the workflow id may be the key
            if name is not None and (other := parts.setdefault(name, part)) != part:
                raise contradiction(f"both name the column {name!r}", other, part)
        for name in Template.parse(self.workflow_id).columns:
            if (written := parts.get(name, "")) in _WRITTEN:
                raise contradiction(
                    f"a workflow id cannot contain the column {name!r}, which passes write",
                    *(written, "workflow_id"),
                )
        if self.run_id is None and self.created_at is None:
            raise contradiction(
                "one of them is needed to distinguish one use of a workflow id from the next",
                *("run_id", "created_at"),
            )
        return self


class TableSettings(FailureSettings):
    """The application's table: all that the main path needs if it gets an engine."""

    model_config = ConfigDict(extra="forbid")

    table: Annotated[str, AfterValidator(check_table)] = Field(
        "workflow_executions",
        description="The application's table, as table or schema.table. Upper and lower case "
        'matter. A name with a dot or a space is quoted: "My App".jobs.',
    )
    columns: Columns = Field(default_factory=Columns)
    statuses: Statuses = Field(default_factory=Statuses)
    where: Where = Field(
        None,
        description="A filter: column=value,value, column!=value, column is null or column is not "
        "null, or several of them joined by and. Passes ignore all other rows.",
    )
    time_zone: TimeZone = Field(
        None,
        description="The time zone of columns without one, such as Europe/Berlin. UTC if not set; "
        "then MISSING=fail, and rows without a run id, wait 12 hours longer if nothing shows that "
        "created_at is in UTC.",
    )
    error_message_key: Annotated[
        str, Field(min_length=1, max_length=63), AfterValidator(check_key)
    ] = Field(
        "message",
        description="If the column for error messages is json or jsonb: the key of the message in "
        'what is written, {"message": "…"}.',
    )
    error_message_limit: Annotated[int, Field(ge=1, le=1_000_000)] = Field(
        2000,
        description="Longer error messages are cut to this many characters, or to the length of "
        "their column if that is shorter.",
    )

    #: The target that these are the settings of; empty where there are no targets.
    _target: str = PrivateAttr(default="")
    #: The source of each setting that is set: "environment", ".env", "reconciler.toml", …
    _places: Mapping[tuple[str, ...], str] = PrivateAttr(default_factory=dict)

    @property
    def target(self) -> str:
        """The name of the target; empty where there are no targets."""
        return self._target

    @target.setter
    def target(self, name: str) -> None:
        self._target = name

    def set_places(self, places: Mapping[tuple[str, ...], str]) -> None:
        """Remember where `load` found the settings."""
        self._places = places

    def place(self, path: tuple[str, ...]) -> str:
        """The source of a setting, such as ("columns", "run_id")."""
        return self._places.get(path, "default")

    @property
    def names_table(self) -> bool:
        """Whether RECONCILER_TABLE is set, if only to its default."""
        return "table" in self.model_fields_set

    def table_mapping(self) -> TableMapping:
        """The names and values of the application's table."""
        *schema, table = split_name(self.table)
        names = TableNames(
            table=table, schema=schema[0] if schema else None, **self.columns.model_dump()
        )
        return TableMapping(
            names, self.status_values(), self.where, self.time_zone, self.error_message_key
        )

    def status_values(self) -> StatusValues:
        """The status column's values; the value for FAILED replaces those that are not set."""
        values = self.statuses.model_dump()
        for end in ("canceled", "terminated", "timed_out"):
            values[end] = values[end] or values["failed"]
        return StatusValues(**values)

    def mapping_as_json(self) -> Mapping[str, Any]:
        """The mapping as JSON: a backfill does not resume one that had another mapping."""
        return {
            "columns": self.columns.model_dump(),
            "statuses": self.statuses.model_dump(mode="json"),
            "where": self.where and str(self.where),
            "time_zone": self.time_zone,
            "error_message_key": self.error_message_key,
        }

    def message_limit(self, column_length: int | None) -> int:
        """Characters of an error message that are stored, given the length of its column."""
        limit = self.error_message_limit
        return min(limit, column_length or limit)
