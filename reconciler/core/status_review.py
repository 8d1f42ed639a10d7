"""Whether the settings for the status fit the values that are in the column. Pure.

| what the column has | warning |
|---|---|
| rows, and none with a value that a setting names | `no_configured_status` |
| rows, and none that RECONCILER_WHERE selects | `no_row_selected` |
| an end value, but more often in another case or spacing | `other_spelling` |
| a value that no setting names, in rows that have not ended | `unmapped_status` |

Applications have more ends than Temporal, so a value without a setting is usually harmless. Rows
count as ended if most of those with the value have a completion time or no workflow id, or if the
value is a word for an end, such as `archived`. What is left can be acknowledged: added to the
running values, or excluded by RECONCILER_WHERE.
"""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from reconciler.core.model import CloseStatus
from reconciler.core.policy import StatusValues
from reconciler.core.table_warnings import TableWarning, WarningCode

#: Values that a warning names, and characters of each.
MOST_NAMED, LONGEST = 5, 40
RUNNING = "RECONCILER_STATUSES__RUNNING"
#: Words for ends, without separators.
_ENDS = frozenset(
    (
        *("canceled", "cancelled", "aborted", "terminated", "killed", "stopped", "revoked"),
        *("timedout", "timeout", "expired", "archived", "deleted", "skipped", "rejected"),
        *("superseded", "discarded", "failed", "failure", "error", "errored", "crashed", "broken"),
        *("completed", "complete", "succeeded", "success", "successful", "done", "finished", "ok"),
    )
)


@dataclass(frozen=True, slots=True)
class StatusCount:
    """How often a value is in the status column; None is NULL."""

    value: str | None
    #: In the table, perhaps as an estimate.
    rows: int
    #: In the sample; of these, in its newest rows, and in rows that have ended.
    sampled: int = 0
    newest: int = 0
    ended: int = 0


@dataclass(frozen=True, slots=True)
class StatusCounts:
    """The values of the status column in the rows that passes cover, the most frequent first."""

    counts: Sequence[StatusCount]
    #: Whether these are all rows, and not an estimate.
    exact: bool
    #: Why no row is covered although there are rows: the text of RECONCILER_WHERE.
    excluding: str | None = None

    @property
    def is_empty(self) -> bool:
        """Whether the table has no rows."""
        return self.exact and not self.counts and self.excluding is None

    def has_any(self, values: Iterable[str | None]) -> bool:
        """Whether the column has one of these values, as far as known."""
        return not {count.value for count in self.counts}.isdisjoint(values)

    def text(self, counts: Sequence[StatusCount]) -> str:
        """Some of the values with their counts: `RUNNING (50), COMPLETED (about 3,012)`."""
        about = "" if self.exact else "about "
        named = [f"{_shown(each.value)} ({about}{each.rows:,})" for each in counts[:MOST_NAMED]]
        return ", ".join([*named, *(["…"] if len(counts) > MOST_NAMED else [])])


def review_statuses(
    found: StatusCounts, statuses: StatusValues, column: str, *, has_running: bool
) -> list[TableWarning]:
    """What is suspicious about the values of the status `column`.

    `has_running`: whether a row has a running value; it matters only if `found` has no value that
    a setting names.
    """
    if found.excluding is not None:
        return [_nothing_selected(found.excluding)]
    if not found.counts:
        return []
    # If rows of completed workflows are left, only the application knows what it writes into them.
    theirs = statuses.completed is None and any(map(_has_ended, found.counts))
    if not has_running and not theirs and not found.has_any(statuses.every):
        return [_not_configured(found, statuses)]
    unmapped = [each for each in found.counts if each.value not in statuses.every]
    spelled = dict(_other_spellings(found, unmapped, statuses))
    others = [each for each in unmapped if each not in spelled and not _has_ended(each)]
    warnings = [_other_spelling(found, spelled, statuses)] if spelled else []
    return [*warnings, *([_not_mapped(found, others, column)] if others else [])]


def other_tables(table: str, others: str) -> TableWarning:
    """The default table has no rows, and `others`, in words, may be what is meant."""
    return TableWarning(
        WarningCode.OTHER_TABLES,
        f"table {table} has no rows, and {others}",
        f"set RECONCILER_TABLE to the one with your workflows, or to {table} if that is right",
    )


def _nothing_selected(where: str) -> TableWarning:
    return TableWarning(
        WarningCode.NO_ROW_SELECTED,
        f"there are rows, and RECONCILER_WHERE ({where}) selects none of them",
        "check its columns and values",
    )


def _not_configured(found: StatusCounts, statuses: StatusValues) -> TableWarning:
    running = " or ".join(map(_shown, statuses.running))
    fix = _set(found.counts, _settings(statuses, *statuses.running))
    return TableWarning(
        WarningCode.NO_CONFIGURED_STATUS,
        f"no row has the status {running}, or another that a setting names; rows have "
        f"{found.text(found.counts)}",
        fix
        if RUNNING in fix
        else f"set {RUNNING}, __COMPLETED and __FAILED to values of the column (`reconciler init` "
        "suggests some)",
    )


def _other_spellings(
    found: StatusCounts, unmapped: Sequence[StatusCount], statuses: StatusValues
) -> Iterator[tuple[StatusCount, str]]:
    """The counts of values like one that is written, each with that value.

    Not if the newest rows have it mostly as it is written: then the others are of the past.
    """
    for value in _settings(statuses):
        alike = [each for each in unmapped if _folded(each.value) == _folded(value)]
        same = [each for each in found.counts if each.value == value]
        news = any(each.newest for each in (*alike, *same))

        def size(of: Sequence[StatusCount], *, news: bool = news) -> int:
            return sum(each.newest if news else each.rows for each in of)

        if size(alike) > size(same):
            yield from ((each, value) for each in alike)


def _other_spelling(
    found: StatusCounts, spelled: Mapping[StatusCount, str], statuses: StatusValues
) -> TableWarning:
    written = ", ".join(dict.fromkeys(map(_shown, spelled.values())))
    return TableWarning(
        WarningCode.OTHER_SPELLING,
        f"passes write {written}, and rows have {found.text(list(spelled))}",
        _set(list(spelled), _settings(statuses)),
    )


def _set(counts: Sequence[StatusCount], settings: Mapping[str, str]) -> str:
    """The settings whose values are in the rows in another spelling, with that spelling."""
    alike = {
        setting: next((c.value for c in counts if _folded(c.value) == _folded(value)), None)
        for value, setting in settings.items()
    }
    # Blanks around a running value are only kept in JSON.
    texts = {
        setting: json.dumps([value]) if setting == RUNNING and value != value.strip() else value
        for setting, value in alike.items()
        if value
    }
    return f"set {', '.join(f'{name}={shlex.quote(text)}' for name, text in texts.items())}"


def _not_mapped(found: StatusCounts, others: Sequence[StatusCount], column: str) -> TableWarning:
    first = others[0].value
    quoted = first if first is None or re.fullmatch(r"[\w.-]+", first) else f'"{first}"'
    leave = f"{column} is not null" if quoted is None else f"{column}!={quoted}"
    null = " (null as in '[\"running\", null]')" if any(c.value is None for c in others) else ""
    return TableWarning(
        WarningCode.UNMAPPED_STATUS,
        f"rows that have not ended have statuses that no setting names: {found.text(others)}",
        f"add those of running workflows to {RUNNING}{null}, and leave out the "
        f"others with RECONCILER_WHERE, as in {shlex.quote(leave)}",
    )


def _has_ended(count: StatusCount) -> bool:
    """Whether rows with this value count as ended; without a sample, as if they had."""
    if count.value is not None and _folded(count.value) in _ENDS:
        return True
    return 2 * count.ended >= count.sampled


def _settings(statuses: StatusValues, *running: str | None) -> dict[str, str]:
    """The values that are written, and these running ones, each with its first setting."""
    settings = {value: RUNNING for value in running if value}
    for end in CloseStatus:
        if value := statuses.of(end):
            settings.setdefault(value, f"RECONCILER_STATUSES__{end.name}")
    return settings


def _folded(value: str | None) -> str | None:
    """The value without case, blanks and separators; itself if nothing else is in it."""
    return value and (re.sub(r"[\W_]", "", value.casefold()) or value)


def _shown(value: str | None) -> str:
    """The value in one line; in quotes if its ends could not be seen otherwise."""
    if value is None:
        return "NULL"
    cut = value if len(value) <= LONGEST else value[: LONGEST - 1] + "…"
    return cut if re.fullmatch(r"\w+([ -]\w+)*", value) else repr(cut)
