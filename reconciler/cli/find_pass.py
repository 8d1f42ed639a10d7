"""Which of several targets has a pass: they may share a database and its journal, or not."""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar

from reconciler.cli.base import print_failure
from reconciler.cli.each_target import about
from reconciler.core.errors import ConfigurationError, Unusable
from reconciler.host.signals import signals

if TYPE_CHECKING:
    from uuid import UUID

    from reconciler.app.undo import Fit
    from reconciler.postgres.journal.entries import StoredPass
    from reconciler.settings.model import Settings

_Found = TypeVar("_Found")
_Owners = Sequence[tuple["Fit", "Settings", "StoredPass"]]
#: Hex digits of a UUID.
DIGITS = 32


def find_owner(targets: Sequence[Settings], prefix: str) -> tuple[Settings, UUID]:
    """The target with the pass of this id, or its beginning; and the whole id.

    Raises `ConfigurationError` unless there is exactly one of each, `Unusable` if a journal that
    may have it cannot be read.
    """
    from reconciler.app.undo import check_one, look_for

    answers, all_answered = _ask(targets, lambda settings: look_for(settings, prefix))
    found: dict[UUID, list[tuple[Fit, Settings, StoredPass]]] = {}
    for settings, passes in answers:
        for stored, fit in passes:
            found.setdefault(stored.id, []).append((fit, settings, stored))
    # Another pass may begin like that, but there is no other of the whole id.
    if not (all_answered or (found and len(prefix.replace("-", "")) == DIGITS)):
        raise Unusable(f"it is not known whose pass {prefix} is", "name a target with --target")
    check_one(list(found), prefix, targets[0])
    ((pass_id, owners),) = found.items()
    return _best(owners), pass_id


def find_last(targets: Sequence[Settings]) -> tuple[Settings, StoredPass, int]:
    """The target of the last pass that has written, the pass, and how many rows it changed.

    Raises `ConfigurationError` if there is none, `Unusable` if a journal cannot be read.
    """
    from reconciler.app import undo

    async def last(settings: Settings) -> tuple[StoredPass, int] | None:
        try:
            return await undo.find_last(settings)
        except undo.NothingWritten:
            return None

    answers, all_answered = _ask(targets, last)
    if not all_answered:
        raise Unusable("it is not known which pass is the last", "name a target with --target")
    found = [(settings, *answer) for settings, answer in answers if answer is not None]
    if not found:
        raise ConfigurationError("no pass in the journals has changed a table of a target")
    return max(found, key=lambda each: each[1].started_at)


def _ask(
    targets: Sequence[Settings], question: Callable[[Settings], Coroutine[Any, Any, _Found]]
) -> tuple[Sequence[tuple[Settings, _Found]], bool]:
    """What the journals answer, and whether all did; prints why others did not."""
    answers = []
    having = [each for each in targets if each.journal] or targets
    for settings in having:
        with about(settings.target):
            try:
                answers.append((settings, signals.run(partial(question, settings))))
            except Unusable as error:
                print_failure(error)
    return answers, len(answers) == len(having)


def _best(owners: _Owners) -> Settings:
    """The target whose settings are those of the pass."""
    from reconciler.app.undo import Fit

    best = min(fit for fit, _, _ in owners)
    fitting = [settings for fit, settings, _ in owners if fit is best]
    stored = owners[0][2]
    if best is Fit.OTHER:
        raise ConfigurationError(
            f"pass {stored.id} was over table {stored.table}, which is that of no target",
            "name the table and the columns in a target as they were for it",
        )
    if len(fitting) > 1:
        names = " and ".join(settings.target for settings in fitting)
        raise ConfigurationError(f"pass {stored.id} fits {names}", "name one with --target")
    return fitting[0]
