"""What tells one fit from others: its settings and data; where its checkpoints are."""

import functools
import pickle
from collections.abc import Callable
from numbers import Number
from pathlib import Path
from types import FunctionType
from typing import Any

import joblib
import numpy as np
from numpy.random import RandomState
from scipy.sparse import issparse
from sklearn.base import BaseEstimator
from sklearn.utils import check_random_state
from torch import Tensor

from skmtl._core.options import check_path
from skmtl._data.streamed_table import StreamedTable
from skmtl._data.training_data import TrainingData
from skmtl._estimators.fitting.run import TrainingRun
from skmtl.training import Checkpoints, Processes

#: Parameters that change nothing in what is trained; the seed counts instead.
IGNORED = {
    *("accelerator", "checkpoint", "checkpoint_every", "on_interrupt", "random_state"),
    "verbose",
}


def check_resume(resume: object, checkpoint: Any) -> bool:
    """Return whether fit is to go on from a checkpoint."""
    if checkpoint is not None:
        check_path(checkpoint, "checkpoint")
    if resume is False:
        return False
    if not (isinstance(resume, str) and resume == "auto"):
        raise ValueError(
            f"The 'resume' parameter must be 'auto' or False. Got {resume!r} instead."
        )
    if checkpoint is None:
        raise ValueError(
            "resume='auto' goes on from a checkpoint, but checkpoint=None: set it to "
            "the folder that holds them, or leave 'resume' out."
        )
    return True


def make_checkpoints(estimator: BaseEstimator, run: TrainingRun) -> Checkpoints:
    """Return what writes and reads the checkpoints of a fit."""
    folder = estimator.checkpoint
    if estimator.random_state is None:
        raise ValueError(
            "The 'checkpoint' parameter needs a random_state, without which the next "
            "fit would be another one. Got random_state=None: set it to an integer."
        )
    if Path(folder).exists() and not Path(folder).is_dir():
        raise ValueError(
            "The 'checkpoint' parameter must be a folder, which may not exist yet. Got "
            f"{str(folder)!r}, which is a file."
        )
    return Checkpoints(
        folder,
        compute_fingerprint(estimator, run),
        estimator.checkpoint_every,
        run.continues,
    )


def compute_fingerprint(estimator: BaseEstimator, run: TrainingRun) -> str:
    """Return a hash of all that decides what a fit ends up with."""
    parts = {
        "estimator": _name(type(estimator)),
        "parameters": _describe_settings(estimator, set()),
        "seed": run.seed,
        "device": run.settings.device.type,
        "n_estimators": run.settings.n_estimators,
        "tasks": [run.targets.names, run.targets.classes],
        "data": _describe_data(run.data),
        "validation": None if run.valid is None else _describe_data(run.valid),
        "soft": run.soft_labels,
        "before": _summarize_fitted(estimator) if run.fitted_net is not None else None,
    }
    return _hash(parts)


def agree_between_processes(
    estimator: BaseEstimator,
    processes: Processes,
    prepare: Callable[[RandomState], TrainingRun],
) -> TrainingRun:
    """Return a fit that all processes are about to make."""
    random_state = _random_state(estimator.random_state, processes)
    try:
        run = prepare(random_state)
    except Exception as error:
        processes.all_gather_object((None, None, str(error)))
        raise
    settings = {
        "seed": run.seed,
        "parameters": _describe_settings(estimator, {"callbacks"}),
    }
    fingerprints = processes.all_gather_object(
        (_hash(_sketch_array(run)), _hash(settings), None)
    )
    for rank, (_, _, refused) in enumerate(fingerprints):
        if refused is not None:
            raise ValueError(f"Process {rank} of {processes.n} has refused: {refused}")
    for what, marks in zip(
        ("data", "settings"), zip(*fingerprints, strict=True), strict=False
    ):
        if len(set(marks)) > 1:
            raise ValueError(
                f"The processes of an accelerator must be given the same {what}, of "
                f"which each takes its share. Got {len(set(marks))} different ones in "
                f"{processes.n} processes."
            )
    return run


def _random_state(
    random_state: int | RandomState | None, processes: Processes
) -> RandomState:
    """Return the source of random choices that the main process has."""
    source = check_random_state(random_state)
    if source is check_random_state(None):  # the global one stays that of each process
        return RandomState(
            processes.broadcast_object(lambda: source.randint(2**31 - 1))
        )
    source.set_state(processes.broadcast_object(source.get_state))
    return source


def _sketch_array(run: TrainingRun) -> list[Any]:
    """Return what tells data apart without reading all inputs."""
    parts = [run.data] if run.valid is None else [run.data, run.valid]
    return [
        [
            data.X.shape,
            data.X.dtype.str,
            _sample_rows(data),
            [data.labels, data.weight],
        ]
        for data in parts
    ]


def _sample_rows(data: TrainingData) -> Any:
    rows = data.rows[[0, -1]]
    return data.X.take(rows) if isinstance(data.X, StreamedTable) else data.X[rows]


def _describe_settings(estimator: BaseEstimator, without: set[str]) -> dict[str, Any]:
    parameters = estimator.get_params(deep=False)
    return {k: v for k, v in parameters.items() if k not in IGNORED | without}


def _hash(value: object) -> str:
    return str(joblib.hash(make_canonical(value), "sha1", coerce_mmap=True))[:20]


def _describe_data(data: TrainingData) -> list[Any]:
    X = data.X.identity() if isinstance(data.X, StreamedTable) else data.X
    return [data.X.shape, X, data.labels, data.weight, data.given_weight]


def _summarize_fitted(estimator: BaseEstimator) -> list[Any]:
    """Return what a net that trains on has learned so far."""
    net = estimator.net_
    state = [net.module_.state_dict(), net.weighting_.state_dict(), len(net.history)]
    return [*state, None if net.optimizer_ is None else net.optimizer_.state_dict()]


@functools.singledispatch
def make_canonical(value: object) -> Any:
    """Return a value in a form that is the same in every process."""
    if value is None or isinstance(value, Number | str) or issparse(value):
        return value
    if hasattr(value, "get_params"):
        return _name(type(value)), make_canonical(_describe_parameters(value))
    try:
        joblib.hash(value)
    except (pickle.PicklingError, TypeError, AttributeError):
        return _name(type(value))
    return value


@make_canonical.register
def _(value: dict) -> Any:
    return [
        (make_canonical(key), make_canonical(entry)) for key, entry in value.items()
    ]


@make_canonical.register(list)
@make_canonical.register(tuple)
def _(value: Any) -> Any:
    return [make_canonical(entry) for entry in value]


@make_canonical.register
def _(value: Tensor) -> Any:
    return value.detach().cpu().numpy()


@make_canonical.register
def _(value: np.ndarray) -> Any:  # joblib reads objects by where they are
    return make_canonical(value.tolist()) if value.dtype == object else value


@make_canonical.register
def _(value: type) -> Any:
    return _name(value)


@make_canonical.register
def _(value: FunctionType) -> Any:
    code = value.__code__
    constants = [c for c in code.co_consts if isinstance(c, Number | str)]
    return _name(value), code.co_code, code.co_names, constants


@make_canonical.register
def _(value: functools.partial) -> Any:
    return make_canonical([value.func, value.args, value.keywords])


def _describe_parameters(value: Any) -> Any:
    try:
        return value.get_params(deep=False)
    except (AttributeError, TypeError, RuntimeError):  # a callback need not keep them
        return None


def _name(value: Any) -> tuple[str, str]:
    return value.__module__, value.__qualname__
