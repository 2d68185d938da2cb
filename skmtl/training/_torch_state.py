"""What is global in torch, borrowed and given back: threads, modes, random states."""

import os
import random
import threading
from collections.abc import Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from typing import Any

import numpy as np
import torch
import torch._functorch.config

from skmtl._core.layers import get_generator, use_generator

#: Who has it may change what belongs to the process: random states, the default type.
_PROCESS = threading.RLock()


class _Limits:
    """Numbers of torch threads: each thread has its own, and new ones the last set."""

    # A thread that is new while others have a limit begins with theirs; what it is to
    # have afterwards is what the first of them had before.

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._of_thread = threading.local()
        self._n_inside = 0
        self._usual = 1

    def enter(self) -> int:
        """Return the number of torch threads to bring back."""
        with self._lock:
            before = torch.get_num_threads()
            if not self._n_inside:
                self._usual = before
            elif not hasattr(self._of_thread, "known"):
                before = self._usual
            self._of_thread.known = True
            self._n_inside += 1
        return before

    def leave(self, before: int) -> None:
        """Bring a number back."""
        with self._lock:
            self._n_inside -= 1
            if torch.get_num_threads() != before:
                torch.set_num_threads(before)


_LIMITS = _Limits()
_FORKED = False


def is_forked() -> bool:
    """Return whether this process was forked from one that had imported skmtl."""
    return _FORKED


@contextmanager
def use_n_threads(n: int | None) -> Iterator[None]:
    """Run with some number of torch threads; None leaves it as it is."""
    # Forked processes have one.
    limits = _LIMITS
    before = limits.enter()
    n = 1 if _FORKED else n
    try:
        now = before if n is None else n
        if now != torch.get_num_threads():
            torch.set_num_threads(now)
        yield
    finally:
        limits.leave(before)


@contextmanager
def use_default_modes() -> Iterator[None]:
    """Run in torch's default modes, whatever the modes of the calling thread are."""
    # These are gradients, no inference mode, no autocast and no other default device
    # than the CPU. Forked processes compute on one thread.
    gradients = torch.is_grad_enabled()
    try:
        with ExitStack() as modes:
            if torch.is_inference_mode_enabled():
                modes.enter_context(torch.inference_mode(False))
            if not gradients:
                modes.enter_context(torch.enable_grad())
            for kind in ("cpu", "cuda"):
                if torch.is_autocast_enabled(kind):
                    modes.enter_context(torch.autocast(kind, enabled=False))
            if torch.get_default_device().type != "cpu":
                modes.enter_context(torch.device("cpu"))
            if _FORKED:
                modes.enter_context(use_n_threads(1))
            yield
    finally:
        # An interrupt can end `torch.no_grad` before it has restored the mode.
        if torch.is_grad_enabled() != gradients:
            torch.set_grad_enabled(gradients)


@contextmanager
def use_default_dtype() -> Iterator[None]:
    """Let new tensors of floats be of float32."""
    # The default type belongs to the process, so threads that change it take turns.
    before = torch.get_default_dtype()
    if before == torch.float32:
        yield
        return
    with _PROCESS:
        torch.set_default_dtype(torch.float32)
        try:
            yield
        finally:
            torch.set_default_dtype(before)


def allow_reusable_graphs() -> AbstractContextManager[None]:
    """Let a module that torch compiles go back several times after one forward pass."""
    return torch._functorch.config.patch(donated_buffer=False)  # type: ignore[no-any-return, attr-defined]


class RandomStateLease:
    """A thread's turn with the global random states."""

    def __init__(self, states: ExitStack) -> None:
        self._states = states

    def end(self) -> None:
        """Give the random states back; draw on from a generator in torch's state."""
        # Nothing may draw from the global states from here on.
        source = torch.Generator()
        source.set_state(torch.get_rng_state())
        self._states.close()
        use_generator(source)


@contextmanager
def use_seed(seed: int, device: torch.device) -> Iterator[RandomStateLease]:
    """Seed the global random states, and bring back what they were."""
    # Those states belong to the process, so threads take turns. Meanwhile, new tensors
    # are of float32.
    before = get_generator()
    try:
        with ExitStack() as states:
            states.enter_context(_borrow_generator(seed, device))
            use_generator(None)
            yield RandomStateLease(states)
    finally:
        use_generator(before)


@contextmanager
def _borrow_generator(seed: int, device: torch.device) -> Iterator[None]:
    devices = [device] if device.type == "cuda" else []
    with _PROCESS, use_default_dtype(), torch.random.fork_rng(devices):
        python, numpy = random.getstate(), np.random.get_state()
        _seed_global(seed)
        try:
            yield
        finally:
            random.setstate(python)
            np.random.set_state(numpy)


def _reset_after_fork() -> None:
    """Forget the threads of the parent, which may have had the locks."""
    global _FORKED, _LIMITS, _PROCESS
    _FORKED, _LIMITS, _PROCESS = True, _Limits(), threading.RLock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_reset_after_fork)


def _seed_global(seed: int) -> None:
    random.seed(seed)
    np.random.seed(seed % 2**32)
    torch.manual_seed(seed)


def draw_initial_seed() -> int:
    """Return the seed of what training draws from, however much has been drawn."""
    return int((get_generator() or torch.default_generator).initial_seed())


class SideStream:
    """Random numbers beside those of the training."""

    def __init__(self, seed: int, device: torch.device) -> None:
        self.device = device
        self._generator: torch.Generator | None = None
        if get_generator() is not None:
            self._generator = torch.Generator().manual_seed(seed)
            return
        common = random_states(device)
        _seed_global(seed)
        self._states = random_states(device)
        set_random_states(common, device)

    @contextmanager
    def draw_from(self) -> Iterator[None]:
        """Draw from here instead of where training does."""
        common = get_generator()
        if self._generator is not None:
            use_generator(self._generator)
            try:
                yield
            finally:
                use_generator(common)
            return
        states = random_states(self.device)
        set_random_states(self._states, self.device)
        try:
            yield
        finally:
            self._states = random_states(self.device)
            set_random_states(states, self.device)


def random_states(device: torch.device) -> dict[str, Any]:
    """Return the random states that training draws from."""
    generator = get_generator()
    if generator is not None:
        return {"torch": generator.get_state()}
    states = {
        "python": random.getstate(),
        "numpy": np.random.get_state(),
        "torch": torch.get_rng_state(),
    }
    if device.type == "cuda":
        states["cuda"] = torch.cuda.get_rng_state(device)
    return states


def set_random_states(states: dict[str, Any], device: torch.device) -> None:
    """Set the random states that training draws from."""
    generator = get_generator()
    if generator is not None:
        generator.set_state(states["torch"])
        return
    torch.set_rng_state(states["torch"])
    if "numpy" in states:  # else the other fit drew from a generator of its own
        random.setstate(states["python"])
        np.random.set_state(states["numpy"])
    if device.type == "cuda":
        torch.cuda.set_rng_state(states["cuda"], device)
