"""Templates become HTML: everything is escaped, and invisible characters are shown as escapes."""

from __future__ import annotations

import hashlib
import shlex
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from functools import cache
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined, pass_context
from jinja2.runtime import Context
from markupsafe import Markup

from reconciler.app.overview.model import State
from reconciler.app.overview.targets import BAD
from reconciler.app.overview.words import (
    describe_counts,
    describe_observation,
    describe_request,
    explain_row,
)
from reconciler.core.stuck.advice import RISK_ADVICE, STUCK_ADVICE
from reconciler.core.text import one_line, or_null, plural, rough, utc, visible
from reconciler.web.page.chart import brief, chart, counted

_HERE = Path(__file__).parent
#: By name: the content type of each file that is served.
STATIC = {
    "page.css": "text/css",
    "page.js": "text/javascript",
    "htmx.min.js": "text/javascript",
    "icon.svg": "image/svg+xml",
}
#: Of a text in a list, and of an id.
TEXT, ID = 160, 80

_YEAR = timedelta(days=300)
#: Each state in words.
STATES = {
    State.WORKING: "Working",
    State.FAILING: "Failing",
    State.NOT_RUNNING: "Not running",
    State.STARTING: "Starting",
    State.STANDBY: "On standby",
}


@cache
def static_file(name: str) -> tuple[bytes, str]:
    """A file and its version, which changes with its content."""
    content = (_HERE / "static" / name).read_bytes()
    return content, hashlib.sha256(content).hexdigest()[:12]


def ago(time: datetime, now: datetime) -> str:
    """How far a time is from now: `3 min ago`, `in 20 s`."""
    length = now - time
    if abs(length) < timedelta(seconds=1):
        return "now"
    return f"{rough(length)} ago" if length > timedelta() else f"in {rough(length)}"


def clock(time: datetime, now: datetime) -> str:
    """A time in UTC, with its day if that is not today."""
    time = time.astimezone(UTC)
    if time.date() == now.astimezone(UTC).date():
        return f"{time:%H:%M:%S}Z"
    return f"{time:%d %b %H:%M}Z" if abs(now - time) < _YEAR else f"{time:%Y-%m-%d %H:%M}Z"


def stamp(time: datetime, now: datetime) -> Markup:
    """A time for people and for programs, in UTC and relative to now."""
    return Markup('<time datetime="{}">{} <i>{}</i></time>').format(
        utc(time), clock(time, now), ago(time, now)
    )


@pass_context
def command(page: Context, program: str, name: str, *words: str) -> Markup:
    """A command to copy, for the target of the page: a click selects all of it."""
    of_target = ["--target", page["target"]] if page["target"] else []
    typed = " ".join(map(_typed, [program, name, *of_target, *words]))
    return Markup("<code class=command>{}</code>").format(typed)


@pass_context
def about(page: Context, *words: str) -> Markup:
    """A command about the last of these words, which is never read as an option."""
    *others, last = words
    return command(page, *others, *(["--"] if last.startswith("-") else []), last)


def _typed(word: str) -> str:
    """A word as it is typed into a shell: what cannot be seen as escapes (bash, zsh)."""
    if visible(word) == word:
        return shlex.quote(word)
    return f"$'{''.join(map(_escaped, word))}'"


def _escaped(character: str) -> str:
    if character in "\\'":
        return f"\\{character}"
    return character if visible(character) == character else f"\\U{ord(character):08x}"


def _static(name: str) -> str:
    return f"static/{name}?v={static_file(name)[1]}"


def _shown(value: object) -> object:
    """Ids and texts are chosen by others: nothing in them is invisible or reorders what follows."""
    return visible(value) if type(value) is str else value


@cache
def _environment() -> Environment:
    environment = Environment(
        loader=FileSystemLoader(_HERE / "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        finalize=_shown,
        trim_blocks=True,
        lstrip_blocks=True,
        auto_reload=False,
    )
    environment.globals.update(
        static=_static, stamp=stamp, clock=clock, rough=rough, ago=ago,
        command=command, about=about, chart=chart, brief=brief, counted=counted, plural=plural,
        or_null=or_null, explain_row=explain_row,
        describe_counts=describe_counts, describe_request=describe_request,
        describe_observation=describe_observation,
        stuck_advice=STUCK_ADVICE, risk_advice=RISK_ADVICE, states=STATES, bad_states=BAD,
    )  # fmt: skip
    environment.filters.update(
        short=lambda text, limit=TEXT: one_line(text, limit),
        id=lambda text: one_line(text, ID),
    )
    return environment


def prepare() -> None:
    """Read all files, so that no request waits for that."""
    for name in _environment().list_templates():
        _environment().get_template(name)
    for name in STATIC:
        static_file(name)


def render(template: str, values: Mapping[str, Any]) -> str:
    """The HTML of a template."""
    return _environment().get_template(f"{template}.html").render(values)
