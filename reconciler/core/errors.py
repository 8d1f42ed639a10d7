"""The errors a caller can act on, each of which ends a command with one line on stderr.

ReconcilerError
├── ConfigurationError      exit code 2: a setting or an argument is wrong
└── Unusable                exit code 4: the pass was aborted
    ├── TemporalUnusable    unreachable, timed out, throttled to a halt
    │   └── TemporalUnfit   no such namespace, no permission
    └── DatabaseUnusable    unreachable, timed out
        └── DatabaseUnfit   no such database, table or column, wrong password, no privilege,
                            a value it does not take

Everything else that escapes is a bug (exit code 1). What concerns a single row is never an
error: it is an `Unknown` observation.
"""


class ReconcilerError(Exception):
    """Base of every error whose text is meant for the operator: one line, no secrets."""

    def __init__(self, problem: str, fix: str = "") -> None:
        """`fix`: what to do about the problem, as an imperative; empty if the problem says it."""
        super().__init__(problem, fix)
        self.problem, self.fix = problem, fix

    def __str__(self) -> str:
        return f"{self.problem}: {self.fix}" if self.fix else self.problem


class ConfigurationError(ReconcilerError):
    """A setting or an argument is wrong; the text names it."""


class Unusable(ReconcilerError):
    """Temporal or the database could not be used, so that the pass had to end."""


class TemporalUnusable(Unusable):
    """Temporal could not be used."""


class TemporalUnfit(TemporalUnusable):
    """Temporal answers, and refuses: to try the same again is of no use."""


class DatabaseUnusable(Unusable):
    """The database could not be used."""


class DatabaseUnfit(DatabaseUnusable):
    """The database answers, and refuses: to try the same again is of no use."""
