"""A workflow that returns an object its handlers may change. The sandbox reloads this module."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from temporalio import workflow
from temporalio.common import RawValue
from temporalio.converter import PayloadConverter

with workflow.unsafe.imports_passed_through():
    from pydantic import BaseModel


@dataclass
class Box:
    items: list[Any] = field(default_factory=list)


class Model(BaseModel):
    items: list[Any]


class Complaint(ValueError):
    """Its text depends on the current state of its items."""

    def __init__(self, items: list[Any]) -> None:
        super().__init__()
        self.items = items

    def __str__(self) -> str:
        if any(type(each) is object for each in self.items):
            raise RuntimeError("no text")
        return f"{len(self.items)} items"


@workflow.defn(name="Results")
class Results:
    def __init__(self) -> None:
        self.items: list[Any] = ["one"]
        self.result_kind = ""

    @workflow.signal
    def change(self, how: str) -> None:
        self.items.append(object() if how == "rubbish" else how)

    @workflow.query
    def kind(self) -> str:
        return self.result_kind

    def result(self, kind: str) -> Any:
        raw = PayloadConverter.default.to_payloads(["raw"])[0]
        return {
            "list": self.items,
            "dict": {"items": self.items},
            "dataclass": Box(self.items),
            "nested": [{"boxes": [self.items, self.items]}],
            "bytes": b"one",
            "nothing": None,
            "text": "one",
            "raw": RawValue(raw),
            "model": Model.model_construct(items=self.items),
        }[kind]

    @workflow.run
    async def run(self, kind: str) -> Any:
        self.result_kind = kind
        if kind == "error":
            raise Complaint(self.items)
        return self.result(kind)
