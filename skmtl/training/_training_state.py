"""What training has come to between two epochs, as tensors and plain values."""

from typing import Any

import numpy as np
import torch

from skmtl.training._batches import Batches, MemberBatches
from skmtl.training._callback_data import steps_by_batch
from skmtl.training._ensemble_net import MembersNet
from skmtl.training._net import MultiTaskNet
from skmtl.training._torch_state import random_states, set_random_states

#: How numpy's arrays and numbers are marked among tensors.
ARRAY, NUMBER = "numpy array", "numpy number"
PLAIN = (bool, int, float, str, type(None))


def get_training_state(
    net: MultiTaskNet, batches: Batches | MemberBatches
) -> dict[str, Any]:
    """Return all that the next epochs depend on."""
    state = {
        "net": _get_net_state(net),
        "callbacks": {
            name: get_callback_state(callback) for name, callback in net.callbacks_
        },
        "random": random_states(torch.device(net.device)),
        "batches": [generator.get_state() for generator in _get_generators(batches)],
    }
    return to_plain(state)  # type: ignore[no-any-return]


def restore(
    net: MultiTaskNet, batches: Batches | MemberBatches, state: dict[str, Any]
) -> None:
    """Bring a net that is about to train to where another one was."""
    state = from_plain(state)
    _restore_net(net, state["net"])
    for name, callback in net.callbacks_:
        if name in state["callbacks"]:  # a progress bar may be new
            _restore(callback, state["callbacks"][name])
    for generator, generator_state in zip(
        _get_generators(batches), state["batches"], strict=True
    ):
        generator.set_state(generator_state)
    set_random_states(state["random"], torch.device(net.device))


def _get_net_state(net: MultiTaskNet) -> dict[str, Any]:
    # What callbacks have recorded of batches is for the epoch they are in.
    state: dict[str, Any] = {
        "loop": net.loop_.state_dict(),  # type: ignore[union-attr]
        "history": [epoch | {"batches": []} for epoch in net.history.to_dicts()],
    }
    if isinstance(net, MembersNet) and not net.stacked:
        state["workers"] = [_get_net_state(worker) for worker in net._workers]
        return state
    state["schedules"] = {
        name: get_callback_state(callback)
        for name, callback in net.callbacks_
        if steps_by_batch(callback)
    }
    state["module"] = net.module_.state_dict()
    state["weighting"] = net.weighting_.state_dict()
    state["optimizer"] = net.optimizer_.state_dict()
    return state


def _restore_net(net: MultiTaskNet, state: dict[str, Any]) -> None:
    net.history = state["history"]
    net.loop_.load_state_dict(state["loop"])  # type: ignore[union-attr]
    if isinstance(net, MembersNet) and not net.stacked:
        for worker, worker_state in zip(net._workers, state["workers"], strict=True):
            _restore_net(worker, worker_state)
        return
    for name, callback in net.callbacks_:
        if name in state["schedules"]:
            _restore(callback, state["schedules"][name])
    net.module_.load_state_dict(state["module"])
    net.weighting_.load_state_dict(state["weighting"])
    net.optimizer_.load_state_dict(state["optimizer"])


def _get_generators(batches: Batches | MemberBatches) -> list[torch.Generator]:
    parts = batches.parts if isinstance(batches, MemberBatches) else [batches]
    return [part.generator for part in parts if part.generator is not None]


def get_callback_state(callback: object) -> dict[str, Any]:
    """Return the attributes that training has set, as far as they are plain."""
    if hasattr(callback, "state_dict"):
        return {"state_dict": to_plain(callback.state_dict())}
    state = {}
    for name, value in vars(callback).items():
        if name.endswith("_"):
            try:
                state[name] = to_plain(
                    value.state_dict() if _has_state(value) else value
                )
            except TypeError:  # such as a progress bar, which begins anew
                continue
    return state


def _has_state(value: object) -> bool:
    return hasattr(value, "state_dict") and not isinstance(value, type)


def _restore(callback: Any, state: dict[str, Any]) -> None:
    if hasattr(callback, "state_dict"):
        callback.load_state_dict(state["state_dict"])
        return
    for name, value in state.items():
        attribute: Any = getattr(callback, name, None)
        if _has_state(attribute):
            attribute.load_state_dict(value)
        else:
            setattr(callback, name, value)


def to_plain(value: Any) -> Any:
    """Return a value with marks in place of what only numpy can read."""
    if isinstance(value, torch.Tensor):
        return value.detach()
    if isinstance(value, np.generic):
        return {NUMBER: torch.from_numpy(np.array(value))}
    if isinstance(value, np.ndarray):
        return {ARRAY: torch.from_numpy(np.array(value))}
    if isinstance(value, dict):
        return {to_plain_key(key): to_plain(entry) for key, entry in value.items()}
    if type(value) in (list, tuple):
        return type(value)(map(to_plain, value))
    if type(value) in PLAIN:
        return value
    raise TypeError(f"a checkpoint cannot hold a {type(value).__name__}")


def to_plain_key(key: object) -> Any:
    """Return a key of a dict after checking that it is a number or a string."""
    if type(key) not in PLAIN:
        raise TypeError(f"a checkpoint cannot hold a {type(key).__name__} as a key")
    return key


def from_plain(value: object) -> Any:
    """Return what `plain` was given."""
    if isinstance(value, dict):
        if value.keys() == {ARRAY}:
            return value[ARRAY].numpy()
        if value.keys() == {NUMBER}:
            return value[NUMBER].numpy()[()]
        return {key: from_plain(entry) for key, entry in value.items()}
    if isinstance(value, list | tuple):
        return type(value)(map(from_plain, value))
    return value
