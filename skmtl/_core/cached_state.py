"""Copies and pickles without cached properties."""

from functools import cached_property
from typing import Any


class WithoutCaches:
    """Leaves cached properties out of copies and pickles."""

    # Predictions fill these caches, perhaps while another thread pickles.

    def __getstate__(self) -> dict[str, Any]:
        state = vars(self).copy()  # at once, while others may add to it
        cls = type(self)
        return {
            name: value
            for name, value in state.items()
            if not isinstance(getattr(cls, name, None), cached_property)
        }
