"""What tells one fit from others: its settings and data; where its checkpoints are."""

import functools
import pickle
from numbers import Number
from pathlib import Path
from types import FunctionType
from typing import Any

import joblib
import numpy as np
from scipy.sparse import issparse
from torch import Tensor

from skmtl._data import Data
from skmtl._job import Job
from skmtl._streamed import Streamed
from skmtl.training import Checkpoints

#: Parameters that change nothing in what is trained; the seed counts instead.
IGNORED = {"checkpoint", "checkpoint_every", "random_state", "verbose"}


def check_resume(resume: Any, checkpoint: Any) -> bool:
    """Return whether fit is to go on from a checkpoint.

    Parameters
    ----------
    resume : {"auto", False}
        What fit was given.
    checkpoint : path-like or None
        The parameter of the estimator.

    Returns
    -------
    bool
        Whether to look for one.
    """
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


def checkpoints_of(estimator: Any, job: Job) -> Checkpoints | None:
    """Return what writes and reads the checkpoints of a fit, where there are to be any.

    Parameters
    ----------
    estimator : estimator
        Its ``checkpoint`` names the folder.
    job : Job
        Its fit.

    Returns
    -------
    Checkpoints or None
        None where it has no folder, and for one pass over the data.
    """
    folder = estimator.checkpoint
    if folder is None or job.one_pass:
        return None
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
        folder, fingerprint(estimator, job), estimator.checkpoint_every, job.continues
    )


def fingerprint(estimator: Any, job: Job) -> str:
    """Return a hash of all that decides what a fit ends up with.

    Parameters
    ----------
    estimator : estimator
        Holds the parameters, and the net that trains on where there is one.
    job : Job
        Its fit.

    Returns
    -------
    str
        The same in another process, but another one for other settings, data or seeds.
    """
    parameters = estimator.get_params(deep=False)
    known = {
        "estimator": _name(type(estimator)),
        "parameters": {k: v for k, v in parameters.items() if k not in IGNORED},
        "seed": job.seed,
        "device": str(job.plan.device),
        "n_members": job.plan.n_members,
        "tasks": [job.targets.names, job.targets.classes],
        "data": _data(job.data),
        "validation": None if job.valid is None else _data(job.valid),
        "soft": job.soft,
        "before": _trained(estimator) if job.resume else None,
    }
    return str(joblib.hash(described(known), "sha1", coerce_mmap=True))[:20]


def _data(data: Data) -> list[Any]:
    X = data.X.identity() if isinstance(data.X, Streamed) else data.X
    return [data.X.shape, X, data.labels, data.weight, data.given_weight]


def _trained(estimator: Any) -> list[Any]:
    """Return what a net that trains on has learned so far."""
    net = estimator.net_
    state = [net.module_.state_dict(), net.weighting_.state_dict(), len(net.history)]
    return [*state, None if net.optimizer_ is None else net.optimizer_.state_dict()]


@functools.singledispatch
def described(value: Any) -> Any:
    """Return a value in a form that is the same in every process.

    Parameters
    ----------
    value : object
        A parameter, or what holds some: estimators and callbacks by their parameters,
        functions by their instructions.

    Returns
    -------
    object
        Arrays, numbers and strings, and containers of such.
    """
    if value is None or isinstance(value, Number | str) or issparse(value):
        return value
    if hasattr(value, "get_params"):
        return _name(type(value)), described(_parameters(value))
    try:
        joblib.hash(value)
    except (pickle.PicklingError, TypeError, AttributeError):
        return _name(type(value))
    return value


@described.register
def _(value: dict) -> Any:
    return [(described(key), described(entry)) for key, entry in value.items()]


@described.register(list)
@described.register(tuple)
def _(value: Any) -> Any:
    return [described(entry) for entry in value]


@described.register
def _(value: Tensor) -> Any:
    return value.detach().cpu().numpy()


@described.register
def _(value: np.ndarray) -> Any:  # joblib reads objects by where they are
    return described(value.tolist()) if value.dtype == object else value


@described.register
def _(value: type) -> Any:
    return _name(value)


@described.register
def _(value: FunctionType) -> Any:
    code = value.__code__
    constants = [c for c in code.co_consts if isinstance(c, Number | str)]
    return _name(value), code.co_code, code.co_names, constants


@described.register
def _(value: functools.partial) -> Any:
    return described([value.func, value.args, value.keywords])


def _parameters(value: Any) -> Any:
    try:
        return value.get_params(deep=False)
    except (AttributeError, TypeError, RuntimeError):  # a callback need not keep them
        return None


def _name(value: Any) -> tuple[str, str]:
    return value.__module__, value.__qualname__
