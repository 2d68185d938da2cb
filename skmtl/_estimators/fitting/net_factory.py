"""From the settings of a fit to a skorch net that is ready to train."""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import numpy as np
import torch
from joblib import cpu_count
from numpy.typing import NDArray

from skmtl._core.layers import StackedEmbedding
from skmtl._core.validation import warn_user
from skmtl._data.targets import Targets
from skmtl._data.training_data import TrainingData, count_labels
from skmtl._estimators.fitting.settings import DTYPES, FitSettings
from skmtl.encoder import TrainingInputs
from skmtl.encoder._sparse import SparseInputs
from skmtl.training import (
    MembersNet,
    MultiTaskModule,
    MultiTaskNet,
    PackedLoss,
    is_forked,
)
from skmtl.weighting import Weighting

#: Rows times parameters up to which precision="auto" means float64: an epoch then costs
#: about a fifth of a millisecond more.
FLOAT64_WORK = 2**22
#: Rows of a batch times parameters up to which one thread is used: more gain a quarter
#: at best, and on a busy machine they can cost fifty times as much.
ONE_THREAD_WORK = 2**26


@contextmanager
def explain_memory() -> Iterator[None]:
    """Raise a MemoryError where the network does not fit into memory."""
    try:
        yield
    except RuntimeError as error:
        words = ("can't allocate memory", "out of memory", "calculation overflowed")
        if not any(word in str(error) for word in words):
            raise
        raise MemoryError(
            "The network does not fit into memory: lower the sizes of the encoder, "
            "such as 'hidden_layer_sizes', or 'n_estimators'."
        ) from error


def make_net(
    settings: FitSettings,
    weighting: Weighting,
    data: TrainingData,
    inputs: TrainingInputs,
    targets: Targets,
    prior: NDArray[np.float64],
    member_priors: list[NDArray[np.float64]] | None,
    task_weight: NDArray[np.float64],
    callbacks: list[Any],
) -> MultiTaskNet:
    """Build and initialise a net; draws from torch's random state."""
    # prior of shape (n_outputs,), member_priors lists of shape (n_outputs,),
    # task_weight of shape (n_tasks,).
    kind: Any = MultiTaskNet
    if member_priors is not None:
        kind = partial(MembersNet, priors=member_priors)
    net: MultiTaskNet = kind(
        MultiTaskModule,
        module__sharing=settings.sharing,
        module__encoder=settings.encoder.prepare(inputs),
        module__relation=settings.relation,
        module__input_shape=inputs.shape,
        module__n_tasks=targets.n_tasks,
        module__blocks=targets.blocks,
        module__prior=prior,
        module__task_names=targets.names,
        module__n_labels=count_labels(data),
        criterion=PackedLoss,
        criterion__blocks=targets.blocks,
        criterion__n_tasks=targets.n_tasks,
        criterion__regression_loss=settings.loss,
        criterion__soft_loss=settings.soft_loss,
        weighting=weighting,
        given_weighting=settings.weighting,
        targets=targets,
        task_names=targets.names,
        task_weight=task_weight * targets.active,
        dtype=torch.float32,
        train_split=None,
        use_caching=False,  # predictions of batches are those of training
        verbose=0,
        **_make_net_settings(settings, len(data.rows), callbacks),
    )
    net.initialize()
    n_parameters = sum(p.numel() for p in net.module_.parameters())
    n_parameters //= 1 if member_priors is None else len(member_priors)
    dtype = DTYPES.get(settings.precision, torch.float32)
    small = len(data.rows) * n_parameters <= FLOAT64_WORK
    exact = settings.device.type in ("cpu", "cuda")
    if settings.precision == "auto" and exact and small:
        dtype = torch.float64
    net.training_dtype = dtype
    net.cast(dtype)
    return net


def make_resumed_net(
    net: MultiTaskNet,
    settings: FitSettings,
    data: TrainingData,
    task_weight: NDArray[np.float64],
    callbacks: list[Any],
) -> MultiTaskNet:
    """Return a copy of a fitted estimator's net that trains on."""
    # task_weight of shape (n_tasks,).
    built = {
        "sharing": net.module__sharing,
        "encoder": net.module__encoder,
        "relation": net.module__relation,
        "weighting": net.given_weighting,
        "loss": net.criterion__regression_loss,
        "n_estimators": getattr(net, "n_estimators", 1),
    }
    now = vars(settings)
    for name, spec in built.items():
        if repr(now[name]) != repr(spec):
            raise ValueError(
                f"The '{name}' parameter cannot change while a fitted model trains on. "
                f"Got {now[name]!r} after {spec!r}: set warm_start=False and call fit "
                "to start anew."
            )
    changed = _make_net_settings(settings, len(data.rows), callbacks)
    task_weight = task_weight * net.targets.active
    return net.replica({**changed, "task_weight": task_weight})


def _make_net_settings(
    settings: FitSettings, n_rows: int, callbacks: list[Any]
) -> dict[str, Any]:
    net_settings = {
        "lr": settings.learning_rate_init,
        "weight_decay": settings.alpha,
        "batch_size": settings.choose_batch_size(n_rows),
        "max_epochs": settings.max_iter,
        "iterator_train__shuffle": settings.shuffle,
        "augmentation": settings.augmentation,
        "hard_example_mining": settings.hard_example_mining,
        "record_gradients": settings.record_gradients,
        "optimizer": settings.optimizer,
        "device": str(settings.device),
        "autocast": settings.precision == "bf16",
        "processes": settings.processes,
        "backend": settings.backend,
        "callbacks": callbacks,
    }
    optimizer = settings.optimizer_settings
    return net_settings | {f"optimizer__{k}": v for k, v in optimizer.items()}


def choose_n_threads(n_threads: int | None, net: MultiTaskNet) -> int | None:
    """Return the number of torch threads to use; None for as many as there are."""
    if n_threads is not None:
        if is_forked() and n_threads > 1:
            warn_user(
                f"n_threads={n_threads} is not used, and one thread is, "
                "because this process was forked, where OpenMP can wait forever: use "
                "joblib's backend 'loky', or the start method 'spawn'.",
                RuntimeWarning,
            )
        return min(int(n_threads), cpu_count())
    n_parameters = sum(p.numel() for p in net.module_.parameters())
    for module in net.module_.modules():
        if isinstance(module, SparseInputs | StackedEmbedding):  # a batch reads few
            n_parameters -= sum(p.numel() for p in module.parameters())
    work = net.batch_size * n_parameters
    return 1 if work <= ONE_THREAD_WORK else None
