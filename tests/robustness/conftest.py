"""How many examples of each property are tried."""

import os

import pytest
from hypothesis import HealthCheck, settings

SECONDS = os.environ.get("SKMTL_ROBUSTNESS_SECONDS")
COMMON = {
    "deadline": None,
    "database": None,
    "print_blob": False,
    "suppress_health_check": list(HealthCheck),
}
settings.register_profile("ci", derandomize=True, max_examples=100, **COMMON)
settings.register_profile("long", max_examples=10**6, **COMMON)
settings.load_profile("long" if SECONDS else "ci")
