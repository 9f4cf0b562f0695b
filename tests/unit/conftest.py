"""How property tests run: the same examples each time, unless HYPOTHESIS_PROFILE=fuzz asks for many new ones."""

import os

from hypothesis import HealthCheck, settings

settings.register_profile("commit", deadline=None, max_examples=60, derandomize=True, database=None)
settings.register_profile(
    "fuzz", deadline=None, max_examples=5000, print_blob=True, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "commit"))
