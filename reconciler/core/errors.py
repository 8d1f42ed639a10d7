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


class ConfigurationError(ReconcilerError):
    """A setting or an argument is wrong; the text names it and says how to mend it."""


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
