"""Checks of what a file says of a training, before any of it is used.

Much of it goes to compiled code that believes what it is given: optimizers write as
many numbers as a parameter has, random generators read from any position.
"""

import inspect
import random
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch
from skorch import NeuralNet
from torch import Tensor

from skmtl.training._callbacks import MemberStopping, Stopping
from skmtl.training._ensemble_net import ELEMENTWISE, MembersNet
from skmtl.training._net import MultiTaskNet
from skmtl.training._task_stopping import TaskStopping
from skmtl.training._training_state import get_callback_state

#: Records of an epoch: one number, one per task, or one per pair of tasks.
NUMBERS = {
    *("dur", "epoch", "solver_failures", "train_loss", "train_loss_best"),
    *("train_batch_count", "valid_batch_count"),
    *("valid_loss", "valid_loss_best", "valid_score"),
}
PER_TASK = {
    *("train_gradient_norms", "train_losses", "train_weights"),
    *("valid_losses", "valid_scores"),
}
PER_PAIR = {"train_gradient_cosines"}
#: Callbacks without whose state a training would end elsewhere.
STOPPING = Stopping, MemberStopping, TaskStopping
#: Words of a Mersenne Twister.
MT_WORDS = 624


def check_mt19937(key: object, pos: Any, has_gauss: Any, gauss: Any) -> None:
    """Check the state of a Mersenne Twister, which numpy itself does not."""
    # key of shape (624,).
    words = np.asarray(key)
    _require(words.shape == (MT_WORDS,) and words.dtype == np.uint32, "its words")
    # Of the first word, one bit counts; from nothing but zeros no others follow.
    _require(bool(words[0] >> 31) or bool(words[1:].any()), "its words")
    _require(_is_int(pos) and 0 <= pos <= MT_WORDS, "its position")
    _require(_is_int(has_gauss) and has_gauss in (0, 1), "its normal number")
    _require(_is_float(gauss) and np.isfinite(gauss), "its normal number")


def check_optimizer_state(
    optimizer: torch.optim.Optimizer, state: Any, n_estimators: int | None = None
) -> None:
    """Check that the state of an optimizer fits its parameters."""
    groups, entries = state["param_groups"], state["state"]
    _require(len(groups) == len(optimizer.param_groups), "its parameter groups")
    for saved, group in zip(groups, optimizer.param_groups, strict=True):
        _require(len(saved["params"]) == len(group["params"]), "its parameters")
        for name, value in group.items():
            _require(name == "params" or _is_like(saved[name], value), f"its {name}")
    parameters = [p for group in optimizer.param_groups for p in group["params"]]
    numbers = [i for saved in groups for i in saved["params"]]
    by_number = dict(zip(numbers, parameters, strict=True))
    _require(len(by_number) == len(numbers), "its parameters")
    if not isinstance(optimizer, tuple(ELEMENTWISE)):
        return
    for number, values in entries.items():
        parameter = by_number[number]
        shape = list(parameter.shape)
        if n_estimators is not None:
            shape[0] = n_estimators
        _check_entry(_match_entry(optimizer, parameter), values, shape)


def _check_entry(
    example: Mapping[str, Any] | None, values: Mapping[str, Any], shape: list[int]
) -> None:
    """Check what an optimizer keeps of one parameter."""
    _require(
        not values or example is None or example.keys() == values.keys(), "its state"
    )
    for name, value in values.items():
        one = name == "step" if example is None else _count_bytes(example[name]) == 1
        fits = value.shape in ((), (1,)) if one else list(value.shape) == shape
        _require(fits and value.is_floating_point(), f"its {name}")


def _count_bytes(value: object) -> int:
    return value.numel() if torch.is_tensor(value) else 1


def _match_entry(
    optimizer: torch.optim.Optimizer, parameter: Tensor
) -> Mapping[str, Any] | None:
    """Return what the optimizer keeps of a parameter of shape (2, 3) after a step."""
    example = torch.zeros(2, 3, dtype=parameter.dtype, device=parameter.device)
    example.requires_grad_()
    example.grad = torch.zeros_like(example)
    cls: Any = type(optimizer)
    parameters = inspect.signature(
        cls
    ).parameters  # defaults hold more, for some classes
    settings = {k: v for k, v in optimizer.defaults.items() if k in parameters}
    try:
        other = cls([example], **settings)
        other.step()
    except (TypeError, ValueError, RuntimeError):  # a user's class takes what it likes
        return None
    return other.state[example]  # type: ignore[no-any-return]


def check_state(net: MultiTaskNet, state: Any, n_done: int) -> None:
    """Check the state of a training before a net takes it over."""
    _require(state.keys() == {"net", "callbacks", "random", "batches"}, "its parts")
    _check_random(state["random"])
    for generator in state["batches"]:
        torch.Generator().set_state(generator)
    _check_net(net, state["net"])
    _require(len(state["net"]["history"]) == len(net.history) + n_done, "its history")
    _require(isinstance(state["callbacks"], dict), "its callbacks")
    for name, callback in net.callbacks_:
        if name in state["callbacks"] or isinstance(callback, STOPPING):
            _check_callback(net, callback, state["callbacks"][name])


def _check_random(states: Any) -> None:
    torch.Generator().set_state(states["torch"])
    if "numpy" in states:
        name, *numbers = states["numpy"]
        _require(name == "MT19937", "its random generator")
        check_mt19937(*numbers)
        random.Random().setstate(states["python"])
        left_over = states["python"][2]
        _require(left_over is None or _is_float(left_over), "its normal number")


def _check_net(net: MultiTaskNet, state: Any) -> None:
    n_tasks, active, loop, loop_state = (
        len(net.task_weight),
        None,
        net.loop_,
        state["loop"],
    )
    assert loop is not None  # while it trains
    _require(type(loop_state["stop_training"]) is bool, "whether it stops")
    _require(all(map(_is_float, loop_state["lowest"].values())), "its lowest losses")
    _require(loop_state["weights"].shape[-1] == n_tasks, "its weights")
    stopped = loop_state["stopped_outputs"]
    _require(stopped is None or stopped.dtype == torch.bool, "its tasks that stop")
    _check_balancer(loop_state["balancer"], n_tasks)
    for epoch in state["history"]:
        _check_epoch(epoch, n_tasks)
    if loop.scores is not None:
        for name, value in loop_state["scores"].items():
            _require(_is_like(value, getattr(loop.scores, name)), f"its {name}")
    if isinstance(net, MembersNet):
        active = _check_networks(net, loop_state)
        if not net.stacked:
            for worker, worker_state in zip(
                net._workers, state["workers"], strict=True
            ):
                _check_net(worker, worker_state)
            return
    _check_tensors(net.module_.state_dict(), state["module"])
    _check_tensors(net.weighting_.state_dict(), state["weighting"])
    check_optimizer_state(net.optimizer_, state["optimizer"], active)
    for number, index, values in loop_state.get("frozen", ()):
        parameter = list(net.module_.parameters())[number]
        fits = parameter[index].shape == values.shape and index.dtype == torch.int64
        _require(fits and values.dtype == parameter.dtype, "its stopped tasks")


def _check_networks(net: MembersNet, state: Any) -> int | None:
    """Check what is of several networks; return how many of them still train."""
    n, loop = net.n_estimators, net.loop_
    assert loop is not None  # while it trains
    order, n_active = state["active"]
    _require(sorted(order.tolist()) == list(range(n)), "the order of its networks")
    _require(_is_int(n_active) and 0 < n_active <= n, "how many of its networks train")
    stopped, losses = state["stopped"], state["network_losses"]
    _require(stopped.shape == (n,) and stopped.dtype == bool, "its stopped networks")
    _require(losses.shape == (n,) and losses.dtype.kind == "f", "its losses")
    shape = n, len(net.task_weight)
    for values in state["losses_by_network"].values():
        _require(values.shape == shape and values.dtype.kind == "f", "its losses")
    if loop.choice is not None:
        fits = loop.choice.accepts_state(state["choice"], net.module_.heads.n_outputs)
        _require(fits, "its held-out predictions")
    return None if n_active == n else int(n_active)


def _check_epoch(epoch: Any, n_tasks: int) -> None:
    """Check what is recorded of an epoch, but for what users' callbacks record."""
    _require(all(type(name) is str for name in epoch), "the names of its records")
    _require({"train_loss", "train_losses"} <= epoch.keys(), "its losses")
    _require(epoch.get("batches", []) == [], "its batches")
    for name in epoch.keys() & NUMBERS:
        _require(type(epoch[name]) is bool or _is_float(epoch[name]), f"its {name}")
    for name in epoch.keys() & PER_TASK:
        _require(_is_row(epoch[name], n_tasks), f"its {name}")
    for name in epoch.keys() & PER_PAIR:
        rows = epoch[name]
        fits = type(rows) is list and len(rows) == n_tasks
        _require(fits and all(_is_row(row, n_tasks) for row in rows), f"its {name}")


def _check_balancer(state: Any, n_tasks: int) -> None:
    weight, raw = state["task_weight"], state["raw_weights"]
    fits = weight.shape == (n_tasks,) and weight.is_floating_point()
    _require(
        fits and bool(((weight >= 0) & weight.isfinite()).all()), "its task weights"
    )
    _require(raw.shape[-1] == n_tasks and raw.is_floating_point(), "its weights")
    for name in ("n_steps", "failures"):
        _require(_is_int(state[name]) and state[name] >= 0, f"its {name}")
    _require(type(state["warned"]) is bool, "whether it has warned")


def _check_callback(net: NeuralNet, callback: Any, state: Any) -> None:
    """Check the state of a callback of this package; those of users know theirs."""
    if not type(callback).__module__.startswith("skmtl."):
        return
    expected = get_callback_state(callback)
    _require(state.keys() == expected.keys(), "its callbacks")
    state = state.get("state_dict", state)
    for name, value in state.items():
        if name == "state_":
            _require(value is None or callback.restore, "its best epoch")
            _check_tensors(net.module_.state_dict(), value or {}, some=True)
        elif name == "states_":
            members = net.loop_.active.states()
            for i, tensors in value.items():
                _check_tensors(members[i], tensors)
        else:
            example = getattr(callback, name, 0.0)
            _require(_is_like(value, example), f"its {name}")


def _check_tensors(
    example: Mapping[str, Any], tensors: Mapping[str, Any], some: bool = False
) -> None:
    """Check that tensors have the names, shapes and types of others."""
    if some and not tensors:
        return
    _require(example.keys() == tensors.keys(), "its tensors")
    for name, value in example.items():
        other = tensors[name]
        if torch.is_tensor(value):
            fits = torch.is_tensor(other) and other.layout == torch.strided
            fits = fits and (other.shape, other.dtype) == (value.shape, value.dtype)
            _require(fits, f"its {name}")


#: What a value must be, by the type of one that stands in its place.
KINDS: list[tuple[Any, Callable[[Any, Any], bool]]] = [
    (bool, lambda value, _: value is None or type(value) is bool),
    ((int, float, np.number), lambda value, _: _is_float(value)),
    (str, lambda value, _: type(value) is str),
    (
        (list, tuple),
        lambda value, like: (
            isinstance(value, list | tuple)
            and len(value) == len(like)
            and all(map(_is_like, value, like))
        ),
    ),
    (
        np.ndarray,
        lambda value, like: (
            isinstance(value, np.ndarray)
            and (value.shape, value.dtype) == (like.shape, like.dtype)
        ),
    ),
    (
        Tensor,
        lambda value, like: torch.is_tensor(value) and value.shape == like.shape,
    ),
]


def _is_like(value: object, like: object) -> bool:
    """Return whether a value may stand where another one does."""
    for types, fits in KINDS:
        if isinstance(like, types):
            return fits(value, like)
    return like is None and (value is None or type(value) is bool)


def _is_int(value: object) -> bool:
    return isinstance(value, int | np.integer) and not isinstance(value, bool)


def _is_float(value: object) -> bool:
    return _is_int(value) or isinstance(value, float | np.floating)


def _is_row(values: Any, n: int) -> bool:
    fits = type(values) is list and len(values) == n
    return fits and all(value is None or _is_float(value) for value in values)


def _require(fits: bool, what: str) -> None:
    if not fits:
        raise ValueError(f"{what} do not fit this fit")
