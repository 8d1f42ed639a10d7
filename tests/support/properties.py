"""How property tests choose their examples: at random, and more of them on demand.

A failing example is printed with all that is needed to run it again, and kept in `.hypothesis/`,
so that the next run on this machine begins with it. The change that fixes it adds it to the test
as an `@example`, which is how the project keeps it.

`HYPOTHESIS_PROFILE=long` tries many times as many: `make test-properties`.
"""

from __future__ import annotations

import os

from hypothesis import HealthCheck, settings
from hypothesis.database import DirectoryBasedExampleDatabase

QUICK, LONG = "quick", "long"
PROFILE = os.environ.get("HYPOTHESIS_PROFILE", QUICK)
TIMES = int(os.environ.get("RECONCILER_TEST_TIMES", "100")) if PROFILE == LONG else 1


def load_profile() -> None:
    """What all have in common. Hypothesis's own profile for CI repeats the same examples."""
    settings.register_profile(
        PROFILE,
        max_examples=100 * TIMES,
        derandomize=False,
        database=DirectoryBasedExampleDatabase(".hypothesis/examples"),
        print_blob=True,
        deadline=None,  # nothing is timed: other processes may have the processor
        suppress_health_check=[HealthCheck.too_slow],
    )
    settings.load_profile(PROFILE)


def examples(count: int) -> settings:
    """That many examples in a quick run."""
    return settings(max_examples=count * TIMES)
