"""From an estimator's parameters to a skorch net that is ready to train."""

import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Self

import numpy as np
import torch
from joblib import cpu_count
from numpy.typing import NDArray
from torch import nn

from skmtl._core.layers import StackedEmbedding
from skmtl._core.specs import resolve_spec
from skmtl._core.validation import warn_user
from skmtl._data.targets import Targets
from skmtl._data.training_data import TrainingData, count_labels
from skmtl._estimators.fitting.accelerator import (
    check_accelerator,
    resolve_device,
    resolve_precision,
    resolve_processes,
)
from skmtl.encoder import (
    ENCODER,
    Encoder,
    ModuleEncoder,
    TrainingInputs,
)
from skmtl.encoder._inputs import SMALL
from skmtl.encoder._sparse import SparseInputs, is_wide
from skmtl.encoder._table import TableEncoder
from skmtl.relation import RELATION, Relation
from skmtl.relation._base import SoftLoss
from skmtl.sharing import SHARING, Sharing
from skmtl.training import (
    Augmentation,
    HardExampleSelection,
    MembersNet,
    MultiTaskModule,
    MultiTaskNet,
    PackedLoss,
    Processes,
    check_compiles,
    is_forked,
    resolve_augmentation,
)
from skmtl.weighting import WEIGHTING, Weighting

OPTIMIZERS: dict[str, tuple[type[torch.optim.Optimizer], dict[str, Any]]] = {
    "adam": (torch.optim.Adam, {"fused": True}),
    "adamw": (torch.optim.AdamW, {"fused": True}),
    "sgd": (torch.optim.SGD, {"fused": True, "momentum": 0.9, "nesterov": True}),
}
DTYPES = {"float32": torch.float32, "float64": torch.float64, "bf16": torch.float32}

#: Rows times parameters up to which precision="auto" means float64: an epoch then costs
#: about a fifth of a millisecond more.
FLOAT64_WORK = 2**22
#: Steps without improvement to wait for, and bounds of the epochs that they take.
PATIENT_STEPS, PATIENCE = 200, (5, 16)
#: Members of a model of a wide sparse table, which waits for the fewest epochs: the
#: linear model that it has learns in few, and gains little by averages.
SPARSE_MEMBERS = 4
#: Members of a model of tables, where the number is left open: with many rows, four do
#: as well as eight (census_kdd and school of the benchmark) in less than half the time.
N_ESTIMATORS, MANY_ROWS, MANY_ROWS_MEMBERS = 8, 10_000, 4
#: Rows of a batch times parameters up to which one thread is used: more gain a quarter
#: at best, and on a busy machine they can cost fifty times as much.
ONE_THREAD_WORK = 2**26


@dataclass(frozen=True)
class FitSettings:
    """Checked settings of one fit."""

    sharing: Sharing  # The strategies.
    encoder: Encoder  # The strategies.
    weighting: Weighting  # The strategies.
    relation: Relation | None  # The strategies.
    augmentation: tuple[Augmentation, ...]  # What changes batches at random.
    optimizer: type[torch.optim.Optimizer]  # Class of the optimizer.
    # Its settings beside learning rate and weight decay.
    optimizer_settings: dict[str, Any]
    device: torch.device  # Where to compute.
    sampling: str | float | None  # What decides how often each row is drawn.
    hard_example_mining: HardExampleSelection | None  # Which labels of a batch train.
    n_estimators: int  # Number of members; see `with_members`.
    sparse: bool  # Whether encoders read a wide sparse table without its zeros.
    precision: str  # Type of numbers.
    processes: Processes  # Those that train.
    backend: str | None  # Backend of torch.compile.

    @classmethod
    def from_estimator(cls, estimator: Any) -> Self:
        """Resolve and check an estimator's parameters."""
        accelerator = check_accelerator(estimator.accelerator)
        device = resolve_device(estimator.device, accelerator)
        precision = resolve_precision(estimator.precision, accelerator)
        if precision == "float64" and device.type == "mps":
            raise ValueError(
                "The 'precision' parameter 'float64' is not available on the device "
                "'mps': use 'float32', or device='cpu'."
            )
        if precision == "bf16" and not torch.amp.is_autocast_available(device.type):
            raise ValueError(
                f"The 'precision' parameter 'bf16' is not available on the device "
                f"{device.type!r}: use 'float32'."
            )
        relation, hard_example_mining = estimator.relation, None
        if estimator.hard_example_mining is not None:
            hard_example_mining = HardExampleSelection(
                estimator.hard_example_mining, estimator.hard_example_fraction
            )
        optimizer, settings = _resolve_optimizer(estimator.optimizer)
        n_estimators = 1 if estimator.n_estimators == "auto" else estimator.n_estimators
        _warn_of_unsaid("sharing", estimator.sharing, SHARING)
        _warn_of_unsaid("weighting", estimator.weighting, WEIGHTING)
        return cls(
            resolve_spec(estimator.sharing, SHARING),
            _resolve_encoder(estimator.encoder),
            resolve_spec(estimator.weighting, WEIGHTING),
            None if relation is None else resolve_spec(relation, RELATION),
            resolve_augmentation(estimator.augmentation),
            optimizer,
            settings,
            device,
            estimator.sampling,
            hard_example_mining,
            n_estimators,
            False,
            precision,
            resolve_processes(accelerator),
            _resolve_backend(estimator.compile, device),
        )

    @property
    def soft_loss(self) -> SoftLoss | None:
        """What predictions of a teacher add to the losses; None without a teacher."""
        return None if self.relation is None else self.relation.soft_loss()

    @property
    def teacher(self) -> Any:
        """The teacher that the user has given, or None."""
        return None if self.soft_loss is None else self.relation.teacher  # type: ignore[union-attr]


def resolve_n_estimators(
    plan: FitSettings, estimator: Any, X: Any, n_rows: int, resume: bool
) -> FitSettings:
    """Return the settings with the number of members, where that is left open."""
    if not isinstance(plan.encoder, TableEncoder):
        return plan
    plan = replace(plan, sparse=is_wide(X))
    if estimator.n_estimators != "auto":
        return plan
    n_estimators = (
        N_ESTIMATORS if n_rows < MANY_ROWS else min(N_ESTIMATORS, MANY_ROWS_MEMBERS)
    )
    n_estimators = min(n_estimators, SPARSE_MEMBERS) if plan.sparse else n_estimators
    return replace(
        plan, n_estimators=estimator.n_estimators_ if resume else n_estimators
    )


def _resolve_backend(compile: bool | str, device: torch.device) -> str | None:
    """Return the backend of torch.compile, once it has compiled something."""
    if isinstance(compile, str):
        backend = compile
    elif compile:
        backend = "inductor"
    else:
        return None
    check_compiles(backend, device.type)
    return backend


def _resolve_encoder(encoder: Any) -> Encoder:
    if isinstance(encoder, str | Encoder):
        return resolve_spec(encoder, ENCODER)
    if isinstance(encoder, nn.Module):
        raise ValueError(
            "The 'encoder' parameter must be a torch.nn.Module class or a callable "
            f"that returns one, not a module: clone would copy its weights. Got "
            f"{type(encoder).__name__}(...): give {type(encoder).__name__} itself."
        )
    return ModuleEncoder(encoder)


def _warn_of_unsaid(parameter: str, value: Any, registry: dict[str, Any]) -> None:
    """Warn of a strategy by name that needs settings to differ from a simpler one."""
    unsaid = registry[value].unsaid if isinstance(value, str) else ""
    if unsaid:
        warn_user(f"{parameter}={value!r} {unsaid}.")


def _resolve_optimizer(
    optimizer: Any,
) -> tuple[type[torch.optim.Optimizer], dict[str, Any]]:
    if isinstance(optimizer, str):
        return OPTIMIZERS[optimizer]
    if isinstance(optimizer, type) and issubclass(optimizer, torch.optim.Optimizer):
        if issubclass(optimizer, torch.optim.SparseAdam):
            raise ValueError(
                "The 'optimizer' parameter must take dense gradients, which "
                f"{optimizer.__name__} does not: use 'adam'."
            )
        return optimizer, {}
    raise ValueError(
        f"The 'optimizer' parameter must be one of {sorted(OPTIMIZERS)} or a "
        f"torch.optim.Optimizer class. Got {optimizer!r}."
    )


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
    estimator: Any,
    plan: FitSettings,
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
        module__sharing=plan.sharing,
        module__encoder=plan.encoder.prepare(inputs),
        module__relation=plan.relation,
        module__input_shape=inputs.shape,
        module__n_tasks=targets.n_tasks,
        module__blocks=targets.blocks,
        module__prior=prior,
        module__task_names=targets.names,
        module__n_labels=count_labels(data),
        criterion=PackedLoss,
        criterion__blocks=targets.blocks,
        criterion__n_tasks=targets.n_tasks,
        criterion__regression_loss=_resolve_regression_loss(estimator),
        criterion__soft_loss=plan.soft_loss,
        weighting=weighting,
        given_weighting=plan.weighting,
        targets=targets,
        task_names=targets.names,
        task_weight=task_weight * targets.active,
        dtype=torch.float32,
        train_split=None,
        use_caching=False,  # predictions of batches are those of training
        verbose=0,
        **_make_net_settings(estimator, plan, len(data.rows), callbacks),
    )
    net.initialize()
    n_parameters = sum(p.numel() for p in net.module_.parameters())
    n_parameters //= 1 if member_priors is None else len(member_priors)
    dtype = DTYPES.get(plan.precision, torch.float32)
    small = len(data.rows) * n_parameters <= FLOAT64_WORK
    exact = plan.device.type in ("cpu", "cuda")
    if plan.precision == "auto" and exact and small:
        dtype = torch.float64
    net.training_dtype = dtype
    net.cast(dtype)
    return net


def make_resumed_net(
    estimator: Any,
    plan: FitSettings,
    data: TrainingData,
    task_weight: NDArray[np.float64],
    callbacks: list[Any],
) -> MultiTaskNet:
    """Return a copy of a fitted estimator's net that trains on."""
    # task_weight of shape (n_tasks,).
    net: MultiTaskNet = estimator.net_
    built = {
        "sharing": net.module__sharing,
        "encoder": net.module__encoder,
        "relation": net.module__relation,
        "weighting": net.given_weighting,
        "loss": net.criterion__regression_loss,
        "n_estimators": getattr(net, "n_estimators", 1),
    }
    now = {**vars(plan), "loss": _resolve_regression_loss(estimator)}
    for name, spec in built.items():
        if repr(now[name]) != repr(spec):
            raise ValueError(
                f"The '{name}' parameter cannot change while a fitted model trains on. "
                f"Got {now[name]!r} after {spec!r}: set warm_start=False and call fit "
                "to start anew."
            )
    settings = _make_net_settings(estimator, plan, len(data.rows), callbacks)
    active = estimator._targets.active
    return net.replica({**settings, "task_weight": task_weight * active})


def _resolve_regression_loss(estimator: Any) -> str:
    return getattr(estimator, "loss", "squared_error")


def _make_net_settings(
    estimator: Any, plan: FitSettings, n_rows: int, callbacks: list[Any]
) -> dict[str, Any]:
    settings = {
        "lr": estimator.learning_rate_init,
        "weight_decay": estimator.alpha,
        "batch_size": _choose_batch_size(estimator, plan.n_estimators, n_rows),
        "max_epochs": estimator.max_iter,
        "iterator_train__shuffle": estimator.shuffle,
        "augmentation": plan.augmentation,
        "hard_example_mining": plan.hard_example_mining,
        "record_gradients": estimator.record_gradients,
        "optimizer": plan.optimizer,
        "device": str(plan.device),
        "autocast": plan.precision == "bf16",
        "processes": plan.processes,
        "backend": plan.backend,
        "callbacks": callbacks,
    }
    return settings | {f"optimizer__{k}": v for k, v in plan.optimizer_settings.items()}


def choose_patience(estimator: Any, plan: FitSettings, n_rows: int) -> float:
    """Return the number of epochs without improvement to wait for."""
    if estimator.n_iter_no_change != "auto":
        return float(estimator.n_iter_no_change)
    n_batches = math.ceil(
        n_rows / _choose_batch_size(estimator, plan.n_estimators, n_rows)
    )
    epochs = np.clip(PATIENT_STEPS // n_batches, *PATIENCE)
    return float(PATIENCE[0] if plan.sparse else epochs)


def _choose_batch_size(estimator: Any, n_estimators: int, n_rows: int) -> int:
    """Return a power of two that makes twelve batches, as far as bounds allow."""
    if estimator.batch_size != "auto":
        return int(estimator.batch_size)
    if n_estimators == 1:
        return min(200, n_rows)
    if n_rows < SMALL:
        return n_rows
    return int(np.clip(2 ** round(math.log2(n_rows / 12)), 32, 512))


def choose_n_threads(estimator: Any, net: MultiTaskNet) -> int | None:
    """Return the number of torch threads to use; None for as many as there are."""
    if estimator.n_threads is not None:
        if is_forked() and estimator.n_threads > 1:
            warn_user(
                f"n_threads={estimator.n_threads} is not used, and one thread is, "
                "because this process was forked, where OpenMP can wait forever: use "
                "joblib's backend 'loky', or the start method 'spawn'.",
                RuntimeWarning,
            )
        return min(int(estimator.n_threads), cpu_count())
    n_parameters = sum(p.numel() for p in net.module_.parameters())
    for module in net.module_.modules():
        if isinstance(module, SparseInputs | StackedEmbedding):  # a batch reads few
            n_parameters -= sum(p.numel() for p in module.parameters())
    work = net.batch_size * n_parameters
    return 1 if work <= ONE_THREAD_WORK else None
