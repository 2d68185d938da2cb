"""What the parameters that all estimators have may be."""

from numbers import Integral, Real
from os import PathLike
from typing import Any

import numpy as np
import torch

from skmtl._core.validation import Interval, Options, StrOptions
from skmtl._estimators.fitting.sampling import SAMPLING
from skmtl._estimators.fitting.settings import DTYPES, OPTIMIZERS
from skmtl.encoder import ENCODER, Encoder
from skmtl.relation import RELATION, Relation
from skmtl.sharing import SHARING, Sharing
from skmtl.training import AUGMENTATION, Augmentation
from skmtl.weighting import WEIGHTING, Weighting

#: Number of torch threads that may be asked for, on any machine.
MOST_THREADS = 1024
#: Constraints in scikit-learn's form.
PARAMETER_CONSTRAINTS: dict[str, Any] = {
    "sharing": [StrOptions(set(SHARING)), Sharing],
    "encoder": [StrOptions(set(ENCODER)), Encoder, callable],
    "weighting": [StrOptions(set(WEIGHTING)), Weighting],
    "relation": [
        *([StrOptions(set(RELATION))] if RELATION else []),
        Relation,
        None,
    ],
    "optimizer": [StrOptions(set(OPTIMIZERS)), callable],
    "learning_rate_init": [Interval(Real, 0, None, closed="neither")],
    "alpha": [Interval(Real, 0, None, closed="left")],
    "batch_size": [
        StrOptions({"auto"}),
        Interval(Integral, 1, None, closed="left"),
    ],
    "max_iter": [Interval(Integral, 1, None, closed="left")],
    "tol": [Interval(Real, 0, None, closed="left")],
    "shuffle": ["boolean"],
    "early_stopping": [StrOptions({"auto"}), "boolean"],
    "validation_fraction": [Interval(Real, 0, 1, closed="neither")],
    "n_iter_no_change": [
        StrOptions({"auto"}),
        Interval(Integral, 1, None, closed="left"),
        Options(Real, {np.inf}),
    ],
    "validation_metric": [str, dict, callable],
    "validation_average": "no_validation",
    "stop_tasks": ["boolean"],
    "n_estimators": [StrOptions({"auto"}), Interval(Integral, 1, None, closed="left")],
    "resampling": [StrOptions({"crossfit", "bootstrap"}), None],
    "calibrate": ["boolean"],
    "task_weight": [dict, "array-like", None],
    "missing_label": "no_validation",
    "augmentation": [
        StrOptions(set(AUGMENTATION)),
        Augmentation,
        callable,
        list,
        None,
    ],
    "sampling": SAMPLING,
    "hard_example_mining": [StrOptions({"loss", "margin"}), None],
    "hard_example_fraction": [Interval(Real, 0, 1, closed="right")],
    "record_gradients": ["boolean"],
    "warm_start": ["boolean"],
    "checkpoint": [str, PathLike, None],
    "checkpoint_every": [Interval(Integral, 1, None, closed="left")],
    "on_interrupt": [StrOptions({"keep", "raise"})],
    "callbacks": [list, None],
    "accelerator": "no_validation",
    "device": [str, torch.device],
    "precision": [StrOptions({"auto", *DTYPES})],
    "compile": ["boolean", str],
    "n_threads": [Interval(Integral, 1, MOST_THREADS, closed="both"), None],
    "random_state": ["random_state"],
    "verbose": ["verbose"],
}
