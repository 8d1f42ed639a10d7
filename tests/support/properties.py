"""How property tests choose their examples: at random, and more of them on demand.

A failing example is printed with everything needed to reproduce it, and stored in `.hypothesis/`,
so the next run on this machine starts with it. The change that fixes it adds it to the test as an
`@example`.

`HYPOTHESIS_PROFILE=long` tries many more examples: `make test-properties`.
"""

from __future__ import annotations

import os

from hypothesis import HealthCheck, settings
from hypothesis.database import DirectoryBasedExampleDatabase

QUICK, LONG = "quick", "long"
PROFILE = os.environ.get("HYPOTHESIS_PROFILE", QUICK)
TIMES = int(os.environ.get("RECONCILER_TEST_TIMES", "100")) if PROFILE == LONG else 1


def load_profile() -> None:
    """Load the settings of all property tests.

    They replace Hypothesis's own profile for CI, which always chooses the same examples.
    """
    settings.register_profile(
        PROFILE,
        max_examples=100 * TIMES,
        derandomize=False,
        database=DirectoryBasedExampleDatabase(".hypothesis/examples"),
        print_blob=True,
        deadline=None,  # other processes may use the CPU
        suppress_health_check=[HealthCheck.too_slow],
    )
    settings.load_profile(PROFILE)


def examples(count: int) -> settings:
    """Settings for this many examples in a quick run, and more in a long one."""
    return settings(max_examples=count * TIMES)
