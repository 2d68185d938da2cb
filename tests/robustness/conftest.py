"""How many examples of each property are tried.

``pytest --hypothesis-profile=long tests/robustness`` tries many more, others each time.
"""

from hypothesis import HealthCheck, settings

COMMON = {
    "deadline": None,
    "database": None,
    "suppress_health_check": list(HealthCheck),
}
settings.register_profile("quick", derandomize=True, max_examples=12, **COMMON)
settings.register_profile("long", max_examples=10_000, **COMMON)
settings.load_profile("quick")
