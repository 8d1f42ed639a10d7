"""The errors a caller can act on. All but `FeedOff` end a command with one line on stderr.

ReconcilerError
├── ConfigurationError      exit code 2: a setting or an argument is wrong
├── FeedOff                 ends no command: screening replaces the closings feed for a while
└── Unusable                exit code 4: the pass was aborted
    ├── TemporalUnusable    unreachable, timed out, throttled to a halt
    │   └── TemporalUnfit   no such namespace, no permission
    └── DatabaseUnusable    unreachable, timed out
        └── DatabaseUnfit   no such database, table or column, wrong password, no privilege,
                            a value that it rejects

Any other exception that escapes is a bug (exit code 1). What concerns a single row is never an
exception: it is an `Unknown` observation.
"""


class ReconcilerError(Exception):
    """Base of every error whose text is meant for the operator: one line, no secrets."""

    def __init__(self, problem: str, fix: str = "") -> None:
        """`fix`: what to do about the problem, as an imperative; empty if that is obvious."""
        super().__init__(problem, fix)
        self.problem = problem
        self.fix = fix

    def __str__(self) -> str:
        return f"{self.problem}: {self.fix}" if self.fix else self.problem


class ConfigurationError(ReconcilerError):
    """A setting or an argument is wrong; the text names it."""


class FeedOff(ReconcilerError):
    """Visibility cannot serve as a closings feed in this namespace: it refuses, or is unsorted."""


class Unusable(ReconcilerError):
    """Temporal or the database cannot be used: this ends the pass."""


class TemporalUnusable(Unusable):
    """Temporal cannot be used."""


class TemporalUnfit(TemporalUnusable):
    """Temporal answers and refuses: retrying does not help."""


class DatabaseUnusable(Unusable):
    """The database cannot be used."""


class DatabaseUnfit(DatabaseUnusable):
    """The database answers and refuses: retrying does not help."""
