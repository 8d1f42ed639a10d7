"""How many more calls than one per row finding out why workflows are open may cost."""

from __future__ import annotations

#: Of the children of stuck workflows, and of histories of failing workflow tasks, in one pass.
CHILDREN = 20
HISTORIES = 20
#: Saved up at most, and at first: what a small table needs at once.
SAVED = 25
#: Earned by each pass, and by each described row. That is less than 5 % more calls than there are
#: descriptions at 10,000 rows, even if a round of the sweep takes a hundred passes.
PER_PASS = 1
PER_ROW = 0.04


class Allowance:
    """The calls that are left. Keep it as long as the process: rows of a stretch are few."""

    def __init__(self) -> None:
        self._calls = float(SAVED)
        self._children = CHILDREN
        self._histories = HISTORIES

    def start_pass(self) -> None:
        """Earn the calls of one more pass."""
        self._earn(PER_PASS)
        self._children = CHILDREN
        self._histories = HISTORIES

    def described(self, rows: int) -> None:
        """Earn calls for rows that were described."""
        self._earn(rows * PER_ROW)

    def take_queue(self) -> bool:
        """Whether a queue may be described; then that is paid for."""
        return self._pay()

    def take_child(self) -> bool:
        """Whether a child may be described; then that is paid for."""
        if not self._children or not self._pay():
            return False
        self._children -= 1
        return True

    def take_history(self) -> bool:
        """Whether a history may be read; then that is paid for."""
        if not self._histories or not self._pay():
            return False
        self._histories -= 1
        return True

    def _earn(self, calls: float) -> None:
        self._calls = min(self._calls + calls, SAVED)

    def _pay(self) -> bool:
        if self._calls < 1:
            return False
        self._calls -= 1
        return True
