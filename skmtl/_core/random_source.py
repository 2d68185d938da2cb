"""Where what draws at random while training draws from."""

import threading

import torch

_OF_THREAD = threading.local()


def get_generator() -> torch.Generator | None:
    """Return what to draw from on the CPU: every draw of training names it."""
    if torch.compiler.is_dynamo_compiling():  # which knows no generators
        return None
    return getattr(_OF_THREAD, "generator", None)


def use_generator(source: torch.Generator | None) -> None:
    """Let the thread draw from a generator of its own, or from the global state."""
    _OF_THREAD.generator = source
