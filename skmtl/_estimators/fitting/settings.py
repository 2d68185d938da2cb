"""The settings of a fit, resolved from the parameters of an estimator."""

import math
import os
from dataclasses import dataclass, fields, replace
from typing import Any, Self

import numpy as np
import torch
from sklearn.base import BaseEstimator
from torch import nn

from skmtl._core.specs import resolve_spec
from skmtl._core.validation import check_device, warn_user
from skmtl.encoder import (
    ENCODER,
    Encoder,
    ModuleEncoder,
)
from skmtl.encoder._inputs import SMALL
from skmtl.encoder._sparse import is_wide
from skmtl.encoder._table import TableEncoder
from skmtl.relation import RELATION, Relation
from skmtl.relation._base import SoftLoss
from skmtl.sharing import SHARING, Sharing
from skmtl.training import (
    SINGLE_PROCESS,
    AccelerateProcesses,
    Augmentation,
    HardExampleSelection,
    Processes,
    check_compiles,
    resolve_augmentation,
)
from skmtl.weighting import WEIGHTING, Weighting

#: Kinds of Accelerate's processes of which each has the whole model.
DATA_PARALLEL = (
    "MULTI_CPU",
    "MULTI_GPU",
    "MULTI_HPU",
    "MULTI_MLU",
    "MULTI_NPU",
    "MULTI_XPU",
    "NO",
)


def check_accelerator(accelerator: Any) -> Any:
    """Return an accelerator after checking that it asks for nothing but processes."""
    if accelerator is None:
        return None
    if not _is_accelerator(accelerator):
        raise ValueError(
            "The 'accelerator' parameter must be an accelerate.Accelerator or None. "
            f"Got {accelerator!r} instead."
        )
    launched = int(os.environ.get("WORLD_SIZE", "1"))
    if accelerator.num_processes == 1 < launched:
        raise ValueError(
            f"The 'accelerator' parameter connects none of the {launched} processes "
            "that were launched: without GPUs, give accelerate.Accelerator(cpu=True)."
        )
    kind = str(getattr(accelerator.distributed_type, "value", "NO"))
    if kind not in DATA_PARALLEL:
        raise ValueError(
            "The 'accelerator' parameter must give each process the whole model. Got "
            f"an Accelerator of type {kind!r}: launch it without, as plain data "
            "parallel training."
        )
    steps = accelerator.gradient_accumulation_steps
    if steps != 1:
        raise ValueError(
            "The 'accelerator' parameter must make a step of every batch. Got "
            f"gradient_accumulation_steps={steps}: use 1, and a larger batch_size."
        )
    if accelerator.mixed_precision not in ("no", "bf16"):
        raise ValueError(
            "The 'accelerator' parameter must have mixed_precision='no' or 'bf16'. Got "
            f"{accelerator.mixed_precision!r} instead."
        )
    return accelerator


def _is_accelerator(value: object) -> bool:
    try:
        from accelerate import Accelerator
    except ImportError:  # then it can be none
        return False
    return isinstance(value, Accelerator)


def resolve_processes(accelerator: Any) -> Processes:
    """Return the processes that train."""
    several = accelerator is not None and accelerator.num_processes > 1
    return AccelerateProcesses(accelerator) if several else SINGLE_PROCESS


def resolve_device(device: Any, accelerator: Any) -> torch.device:
    """Return where to compute."""
    if accelerator is None:
        return check_device(device)
    accelerator_device: torch.device = accelerator.device
    accelerator_device = (
        torch.device("cpu") if accelerator_device.type == "cpu" else accelerator_device
    )  # Accelerate numbers it
    found = (
        accelerator_device
        if isinstance(device, str) and device == "auto"
        else check_device(device)
    )
    if found.type != accelerator_device.type or found.index not in (
        None,
        accelerator_device.index,
    ):
        raise ValueError(
            "The 'device' parameter must be 'auto' with an accelerator, which decides "
            f"the device of each process, here {str(accelerator_device)!r}. Got "
            f"{device!r} instead."
        )
    return accelerator_device


def resolve_precision(precision: str, accelerator: Any) -> str:
    """Return the type of numbers."""
    if accelerator is None or accelerator.mixed_precision == "no":
        return precision
    if precision not in ("auto", "bf16"):
        raise ValueError(
            "The 'precision' parameter must be 'auto' or 'bf16' with an accelerator of "
            f"mixed_precision='bf16'. Got {precision!r} instead."
        )
    return "bf16"


OPTIMIZERS: dict[str, tuple[type[torch.optim.Optimizer], dict[str, Any]]] = {
    "adam": (torch.optim.Adam, {"fused": True}),
    "adamw": (torch.optim.AdamW, {"fused": True}),
    "sgd": (torch.optim.SGD, {"fused": True, "momentum": 0.9, "nesterov": True}),
}
DTYPES = {"float32": torch.float32, "float64": torch.float64, "bf16": torch.float32}

#: Steps without improvement to wait for, and bounds of the epochs that they take.
PATIENT_STEPS, PATIENCE = 200, (5, 16)
#: Members of a model of a wide sparse table, which waits for the fewest epochs: the
#: linear model that it has learns in few, and gains little by averages.
SPARSE_MEMBERS = 4
#: Members of a model of tables, where the number is left open: with many rows, four do
#: as well as eight (census_kdd and school of the benchmark) in less than half the time.
N_ESTIMATORS, MANY_ROWS, MANY_ROWS_MEMBERS = 8, 10_000, 4


#: Parameters with which more than the mean loss decides, and what they are without.
JUDGED = {
    "validation_metric": "loss",
    "validation_average": "macro",
    "stop_tasks": False,
}


@dataclass(frozen=True, kw_only=True)
class FitSettings:
    """All that the parameters of an estimator say about a fit, resolved and checked."""

    # Resolved from the parameters.
    sharing: Sharing
    encoder: Encoder
    weighting: Weighting
    relation: Relation | None
    augmentation: tuple[Augmentation, ...]
    optimizer: type[torch.optim.Optimizer]
    optimizer_settings: dict[str, Any]  # Beside learning rate and weight decay.
    hard_example_mining: HardExampleSelection | None
    device: torch.device
    precision: str
    processes: Processes  # Those that train.
    backend: str | None  # Backend of torch.compile.
    n_estimators: int
    sparse: bool = False  # Whether encoders read a wide sparse table without its zeros.

    # As given, under the names of the parameters.
    resampling: str | None
    calibrate: bool
    learning_rate_init: float
    alpha: float
    batch_size: int | str
    max_iter: int
    shuffle: bool
    early_stopping: bool | str
    validation_fraction: float
    validation_metric: Any
    validation_average: Any
    stop_tasks: bool
    n_iter_no_change: float | str
    tol: float
    sampling: str | float | None
    n_threads: int | None
    checkpoint: Any
    checkpoint_every: int
    on_interrupt: str
    callbacks: list[Any] | None
    record_gradients: bool
    verbose: int
    # Parameters that some estimators do not have.
    loss: str = "squared_error"
    threshold: str | None = None

    @classmethod
    def from_estimator(cls, estimator: BaseEstimator) -> Self:
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
        mining, relation = estimator.hard_example_mining, estimator.relation
        if mining is not None:
            mining = HardExampleSelection(mining, estimator.hard_example_fraction)
        optimizer, optimizer_settings = _resolve_optimizer(estimator.optimizer)
        n_estimators = estimator.n_estimators
        _warn_of_unsaid("sharing", estimator.sharing, SHARING)
        _warn_of_unsaid("weighting", estimator.weighting, WEIGHTING)
        resolved = {
            "sharing": resolve_spec(estimator.sharing, SHARING),
            "encoder": _resolve_encoder(estimator.encoder),
            "weighting": resolve_spec(estimator.weighting, WEIGHTING),
            "relation": None if relation is None else resolve_spec(relation, RELATION),
            "augmentation": resolve_augmentation(estimator.augmentation),
            "optimizer": optimizer,
            "optimizer_settings": optimizer_settings,
            "hard_example_mining": mining,
            "device": device,
            "precision": precision,
            "processes": resolve_processes(accelerator),
            "backend": _resolve_backend(estimator.compile, device),
            "n_estimators": 1 if n_estimators == "auto" else n_estimators,
        }
        params = estimator.get_params(deep=False)
        names = {field.name for field in fields(cls)} & params.keys()
        return cls(**{**{name: params[name] for name in names}, **resolved})

    def resolve_n_estimators(
        self, n_estimators: int | str, X: Any, n_rows: int, fitted: int | None
    ) -> Self:
        """Return the settings with the size of the ensemble, where it is left open."""
        if not isinstance(self.encoder, TableEncoder):
            return self
        settings = replace(self, sparse=is_wide(X))
        if n_estimators != "auto":
            return settings
        if fitted is not None:
            return replace(settings, n_estimators=fitted)
        n = N_ESTIMATORS
        if n_rows >= MANY_ROWS:
            n = min(n, MANY_ROWS_MEMBERS)
        return replace(
            settings, n_estimators=min(n, SPARSE_MEMBERS) if settings.sparse else n
        )

    @property
    def soft_loss(self) -> SoftLoss | None:
        """What predictions of a teacher add to the losses; None without a teacher."""
        return None if self.relation is None else self.relation.soft_loss()

    @property
    def teacher(self) -> Any:
        """The teacher that the user has given, or None."""
        return None if self.soft_loss is None else self.relation.teacher  # type: ignore[union-attr]

    @property
    def judging_parameter(self) -> str | None:
        """A parameter with which more than the mean loss decides, or None."""
        names = (name for name, value in JUDGED.items() if getattr(self, name) != value)
        return next(names, None)

    def choose_batch_size(self, n_rows: int) -> int:
        """Return a power of two that makes twelve batches, as far as bounds allow."""
        if self.batch_size != "auto":
            return int(self.batch_size)
        if self.n_estimators == 1:
            return min(200, n_rows)
        if n_rows < SMALL:
            return n_rows
        return int(np.clip(2 ** round(math.log2(n_rows / 12)), 32, 512))

    def choose_patience(self, n_rows: int) -> float:
        """Return the number of epochs without improvement to wait for."""
        if self.n_iter_no_change != "auto":
            return float(self.n_iter_no_change)
        n_batches = math.ceil(n_rows / self.choose_batch_size(n_rows))
        epochs = np.clip(PATIENT_STEPS // n_batches, *PATIENCE)
        return float(PATIENCE[0] if self.sparse else epochs)


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


def _warn_of_unsaid(parameter: str, value: object, registry: dict[str, Any]) -> None:
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
