"""How each stored history was recorded, by its name."""

from __future__ import annotations

from tests.support.histories.happenings import (
    begin_update,
    cancel,
    signal,
    together,
    update,
)
from tests.support.histories.recipes import (
    TWICE,
    Shape,
    a_report_that_fails,
    a_report_that_nobody_takes,
    a_signal_that_is_under_way_at_the_end,
    an_update_that_is_under_way_at_the_end,
    cancelled,
    cron,
    ends,
    finished_by_an_update,
    held,
    no_report,
    reset,
    signal_with_start,
    update_with_start,
)

_signals = together(signal("add", "late"), signal("unknown"), signal("add", "later"))
_updates = together(
    update("put", "late"), update("put", "nothing"), update("put", "invalid"), update("unknown")
)

SHAPES: dict[str, Shape] = {
    "no report": no_report,
    "completes": ends("return items"),
    "completes without handlers": ends("text", "Quiet"),
    "returns nothing": ends("nothing", "Quiet"),
    "fails": ends("fail"),
    "fails without handlers": ends("fail", "Quiet"),
    "cancelled": cancelled,
    "cancels an activity": ends("cancel packing"),
    "continues as new": ends("continue"),
    "is retried": ends("fail once", retry_policy=TWICE),
    "an activity": ends("pack"),
    "a local activity": ends("pack here"),
    "a child": ends("order a part"),
    "a child that reports": ends("order a part", children=True),
    "by plugin and decorator": ends("return items", "OrderByHand"),
    "cron": cron,
    "reset": reset,
    "finished by an update": finished_by_an_update,
    "update with start": update_with_start,
    "signal with start": signal_with_start,
    "an update under way at the end": an_update_that_is_under_way_at_the_end,
    "a signal under way at the end": a_signal_that_is_under_way_at_the_end,
    "a report that fails": a_report_that_fails,
    "a report that nobody takes": a_report_that_nobody_takes,
    "held: nothing comes": held(together()),
    "held: signals": held(_signals),
    "held: a signal with an activity": held(signal("add_packed", "late")),
    "held: a signal that fails": held(signal("break_down", "no")),
    "held: a signal that cancels": held(signal("break_down", "cancel")),
    "held: a signal that starts over": held(signal("break_down", "start over")),
    "held: updates": held(_updates),
    "held: an update with an activity": held(update("put_packed", "late")),
    "held: an update that fails in an activity": held(update("put_packed", "broken")),
    "held: updates of a failure": held(_updates, "fail"),
    "held: signals and updates": held(
        together(_signals, _updates, signal("add_packed", "late"), update("put_packed", "late"))
    ),
    "held: handlers of run time": held(
        together(signal("late_signal", "late"), update("late_update", "late")),
        "handle at run time",
    ),
    "held: a cancellation": held(cancel),
    "held: a cancellation of a failure": held(cancel, "fail"),
    "held: a cancellation after one of its own": held(cancel, "cancel packing"),
    "held: work left behind": held(together(_signals, _updates), "leave work behind"),
    "held, by hand: nothing comes": held(together(), workflow="OrderByHand"),
    "held, by hand: signals and updates": held(
        together(_signals, _updates), workflow="OrderByHand"
    ),
    "held, by hand: a signal that fails": held(signal("break_down", "no"), workflow="OrderByHand"),
    "held, by hand: a signal that starts over": held(
        signal("break_down", "start over"), workflow="OrderByHand"
    ),
    "held, by hand: a cancellation after one of its own": held(
        cancel, "cancel packing", workflow="OrderByHand"
    ),
    "under way: signals and updates": held(together(_signals, _updates), midway=True),
    "under way: an update with an activity": held(begin_update("put_packed", "hang"), midway=True),
    "under way: a cancellation": held(cancel, midway=True),
    "under way, by hand: updates": held(_updates, workflow="OrderByHand", midway=True),
}
