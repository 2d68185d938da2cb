"""The skorch net that trains several tasks at once, and predicts."""

import copy
import inspect
from collections.abc import Callable, Iterable, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any, Self

import numpy as np
import torch
from numpy.typing import NDArray
from skorch import NeuralNet
from skorch.callbacks import Callback
from skorch.utils import to_numpy, to_tensor
from torch import Tensor

from skmtl._core.layers import get_generator
from skmtl._data.targets import Targets
from skmtl.encoder._sparse import SparseInputs
from skmtl.training._augmentation import Augmentation
from skmtl.training._batches import Batch, Batches, InputSource, TrainingRows
from skmtl.training._callback_data import ScoringRows, SelectedRows, score_all_tasks
from skmtl.training._distributed import SINGLE_PROCESS, Processes
from skmtl.training._hard_examples import HardExampleSelection
from skmtl.training._history import TaskHistory
from skmtl.training._loop import TrainingLoop

#: How many times the learning rate weights of sparse columns have, and their ``eps``.
SPARSE_STEPS = {"features": (10, 0.12), "linear": (100, 0.06)}
#: Rows per forward pass of a prediction: their activations stay in the cache.
PREDICT_ROWS = 1024
#: Attributes that only training needs.
OF_TRAINING = ("processes", "loop_")


class MultiTaskNet(NeuralNet):
    """A skorch net whose step has one loss per task."""

    # How it trains is in `TrainingLoop`; skorch builds the module and the optimizer,
    # keeps the history and tells callbacks.
    # task_weight (n_tasks,): Fixed weights; zero for a task that has nothing to learn.

    loop_: TrainingLoop | None = None  # While it trains.
    processes: Processes = SINGLE_PROCESS  # Those that train it.
    optimizer_: Any
    weighting_: Any

    def __init__(
        self,
        module: Any,
        *args: Any,
        weighting: Any,
        given_weighting: Any,
        targets: Targets,
        task_names: list[Any],
        task_weight: NDArray[np.float64],
        augmentation: Sequence[Augmentation],
        hard_example_mining: HardExampleSelection | None,
        record_gradients: bool,
        dtype: torch.dtype,
        autocast: bool,
        weight_decay: float,
        processes: Processes = SINGLE_PROCESS,
        backend: str | None = None,
        **kwargs: Any,
    ) -> None:
        self.weighting = weighting
        self.given_weighting = given_weighting
        self.targets = targets
        self.task_names = task_names
        self.task_weight = task_weight
        self.augmentation = augmentation
        self.hard_example_mining = hard_example_mining
        self.record_gradients = record_gradients
        self.dtype = dtype
        self.autocast = autocast
        self.weight_decay = weight_decay
        self.processes = processes
        self.backend = backend
        self.weights_: Any = task_weight
        self.training_dtype = dtype
        super().__init__(module, *args, **kwargs)

    # ------------------------------------------------------------------- building
    @property
    def _default_callbacks(self) -> list[tuple[str, Callback]]:
        return []

    @property
    def history(self) -> TaskHistory:
        """One record per epoch; see `TaskHistory`."""
        return self.history_

    @history.setter
    def history(self, records: Any) -> None:
        self.history_ = TaskHistory(records, self.targets.names)

    def initialize_history(self) -> None:
        """Begin a history without records."""
        self.history = []

    def initialize_callbacks(self) -> Self:
        """Make the callbacks ready; scores that are named are those of all tasks."""
        super().initialize_callbacks()
        for _, callback in self.callbacks_:
            score_all_tasks(callback)
        return self

    def initialize_criterion(self) -> Self:
        """Build the losses and the weighting, whose parameters are trained too."""
        super().initialize_criterion()
        n_tasks = len(self.task_weight)
        self.weighting_ = self.weighting.build(n_tasks).to(self.dtype)
        return self

    def initialize_optimizer(self, triggered_directly: bool | None = None) -> Any:
        """Build the optimizer; learned task weights don't decay."""
        _, kwargs = self.get_params_for_optimizer("optimizer", [])
        settings = inspect.signature(self.optimizer).parameters
        learned, groups = list(self.weighting_.parameters()), []
        if "betas" in settings and "eps" in settings:
            groups = self._sparse_groups(kwargs["lr"], "weight_decay" in settings)
        apart = {p for group in groups for p in group["params"]}
        parameters = [p for p in self.module_.parameters() if p not in apart]
        if "weight_decay" in settings:
            kwargs["weight_decay"] = self.weight_decay
            groups += [{"params": learned, "weight_decay": 0.0}] if learned else []
        else:
            parameters += learned
        param_groups = [{"params": parameters}, *groups] if groups else parameters
        self.optimizer_ = self.optimizer(param_groups, **kwargs)
        return self

    def _sparse_groups(self, lr: float, decays: bool) -> list[dict[str, Any]]:
        """Return how the weights of sparse columns train, where there are any."""
        # Adam divides gradients by their root mean square, so that rare words move as
        # far as frequent ones, whatever they tell. Its `eps` is added to that divisor:
        # where it is larger than gradients are, steps are those of gradient descent.
        groups = []
        for name, (factor, eps) in SPARSE_STEPS.items():
            weights = [
                getattr(module, name)
                for module in self.module_.modules()
                if isinstance(module, SparseInputs)
            ]
            group = {"params": weights, "lr": lr * factor, "eps": eps}
            if decays:  # by as much per step as others
                group["weight_decay"] = self.weight_decay / factor
            groups += [group] if weights else []
        return groups

    def copy_attributes(self, cls: type["MultiTaskNet"], **changed: Any) -> Any:
        """Return a net of a class with the same attributes, but for those changed."""
        net = cls.__new__(cls)
        net.__dict__.update({**vars(self), **changed})
        return net

    def replica(self, settings: dict[str, Any]) -> Self:
        """Return a copy that trains on without touching this net."""
        net: Any = self.copy_attributes(type(self), **settings)
        for name in ("module_", "criterion_", "weighting_"):
            module = copy.deepcopy(getattr(self, name))
            net.__dict__[name] = module.to(net.device)
        # Records of past epochs do not change, so the copy may hold the same.
        net.__dict__["history_"] = copy.copy(self.history)
        net.cast(net.training_dtype)
        net.initialize_callbacks()
        net._initialize_optimizer()
        if type(self.optimizer_) is type(net.optimizer_):
            settings_now = [
                {name: value for name, value in group.items() if name != "params"}
                for group in net.optimizer_.param_groups
            ]
            # Loading alone would train on in the tensors of this net.
            state = copy.deepcopy(self.optimizer_.state_dict())
            net.optimizer_.load_state_dict(state)
            for group, now in zip(
                net.optimizer_.param_groups, settings_now, strict=True
            ):
                group.update(now)
        return net  # type: ignore[no-any-return]

    def __getstate__(self) -> dict[str, Any]:
        """Return what a pickle holds, which a callback may make during training."""
        state: dict[str, Any] = super().__getstate__()
        return {k: v for k, v in state.items() if k not in OF_TRAINING}

    def strip(self, callbacks: list[Any], keep_optimizer: bool) -> None:
        """Drop what only training needs, keeping the user's own callbacks."""
        self.callbacks = callbacks
        self.callbacks_: list[tuple[str, Any]] = [
            (name, callback)
            for name, callback in self.callbacks_
            if any(callback is user_callback for user_callback in callbacks)
        ]
        if not keep_optimizer:
            self.optimizer_ = None
        self.module_.zero_grad(set_to_none=True)
        self.module_.eval()
        for epoch in self.history:
            epoch["batches"] = []
        # Of the tensors on the device, skorch pickles only modules and optimizers in a
        # way that loads where there is no such device.
        self.weights_ = self.weights()
        self.verbose = 0
        for name in OF_TRAINING:
            vars(self).pop(name, None)  # type: ignore[attr-defined]

    # ------------------------------------------------------------------- training
    def train(self, rows: Any, valid: Any, epochs: int, **options: Any) -> None:
        """Train for some epochs; options are those of `TrainingLoop`."""
        self.stop_training_ = False
        self.loop_ = self._make_loop(**options)
        try:
            self.loop_.run(rows, valid, epochs)
        finally:
            self.loop_ = None

    def _make_loop(self, **options: Any) -> TrainingLoop:
        return TrainingLoop(self, **options)

    def train_step_single(self, batch: Batch, **fit_params: Any) -> dict[str, Any]:
        """Compute gradients within skorch's closure of an optimizer's step."""
        return self.loop_.compute_gradients(batch)  # type: ignore[union-attr]

    def get_iterator(self, dataset: Any, training: bool = False) -> Iterable[Any]:
        """Return batches by slicing, in a new order or draw each epoch of training."""
        if isinstance(dataset, ScoringRows):
            dataset = dataset.rows
        if not isinstance(dataset, TrainingRows):
            return super().get_iterator(dataset, training)  # type: ignore[no-any-return]
        if not training:
            n_rows = max(self.batch_size, 4096)
            return Batches(dataset, n_rows, processes=self.processes)
        of_orders = None
        if self.iterator_train__shuffle or dataset.odds is not None:
            of_orders = torch.Generator()
            seed = torch.randint(2**62, (), generator=get_generator())
            of_orders.manual_seed(int(seed))
        return Batches(dataset, self.batch_size, of_orders, self.processes)

    # ---------------------------------------------------------------- predictions
    def infer(self, x: Any, **fit_params: Any) -> Tensor:
        """Return the packed outputs of a batch in the type of the losses."""
        if not isinstance(x, Tensor):
            x = to_tensor(x, self.device).to(self.module_.input_dtype)
        if not self.autocast:
            return self.module_(x)  # type: ignore[no-any-return]
        with self._precision():
            return self.module_(x).float()  # type: ignore[no-any-return]

    def _precision(self) -> AbstractContextManager[Any]:
        if not self.autocast:
            return nullcontext()
        return torch.autocast(torch.device(self.device).type, dtype=torch.bfloat16)

    def outputs(self, source: InputSource | SelectedRows) -> Tensor:
        """Return the packed outputs (n, n_outputs) of all rows, on the CPU."""
        return self._compute_in_parts(
            source, 0, source.n_samples, self._predict_outputs
        )

    def _compute_in_parts(
        self,
        source: InputSource | SelectedRows,
        start: int,
        stop: int,
        compute: Callable[[Tensor], Tensor],
        *leading: int,
    ) -> Tensor:
        """Return outputs (*leading, stop - start, n_outputs) of a range of samples."""
        shape = *leading, stop - start, self.module_.heads.n_outputs
        outputs = torch.empty(shape, dtype=self.dtype)
        training = self.module_.training
        if training:  # a callback predicts
            self.module_.eval()
        rows = self._rows_at_once(source.device)
        with torch.inference_mode(), self._precision():
            for first in range(start, stop, rows):
                last = min(first + rows, stop)
                part = slice(first - start, last - start)
                outputs[..., part, :] = compute(source.span(first, last))
        if training:
            self.module_.train()
        return outputs

    def predict(self, X: Any) -> NDArray[Any]:
        """Return the labels that are predicted, as the estimator does."""
        # X of shape (n, ...); returns (n,) or (n, n_tasks).
        outputs = self._compute_outputs(X)
        return self.targets.predict(outputs, self.targets.predict_codes(outputs))

    def predict_proba(self, X: Any) -> Any:
        """Return probabilities of the classes, as the estimator does."""
        # X of shape (n, ...).
        proba = self.targets.predict_proba(self._compute_outputs(X))
        return proba[0] if self.targets.one_d else proba

    @property
    def classes_(self) -> Any:
        """Classes of each task, None for regression."""
        return self.targets.classes[0] if self.targets.one_d else self.targets.classes

    @property
    def task_names_(self) -> list[Any]:
        """Names of the tasks."""
        return list(self.targets.names)

    @property
    def task_types_(self) -> list[str]:
        """Kinds of the tasks."""
        return list(self.targets.task_types)

    def _compute_outputs(self, X: Any) -> Tensor:
        if isinstance(X, ScoringRows):
            return self._compute_row_outputs(X)
        X, device = to_numpy(X), torch.device(self.device)
        return self.outputs(
            InputSource(X, self.module_.input_dtype, device, resident=False)
        )

    def _compute_row_outputs(self, rows: ScoringRows) -> Tensor:
        return self.outputs(
            SelectedRows(rows.rows.source, rows.rows.get_sample_index())
        )

    def compute_member_outputs(self, source: InputSource) -> Tensor:
        """Return the outputs of each member, of shape (n_estimators, n, n_outputs)."""
        return self.outputs(source).unsqueeze(0)

    def _predict_outputs(self, X: Tensor) -> Tensor:
        """Return the packed outputs of some rows."""
        return self.module_(X)  # type: ignore[no-any-return]

    def _rows_at_once(self, device: torch.device) -> int:
        # Other devices have no such cache, but each pass waits for them.
        return PREDICT_ROWS if device.type == "cpu" else 64 * PREDICT_ROWS

    def cast(self, dtype: torch.dtype) -> None:
        """Change the type of the parameters."""
        self.dtype = dtype
        self.module_.to(dtype)
        self.weighting_.to(dtype)

    def weights(self) -> NDArray[np.float64]:
        """Return the weights of the tasks in the last step."""
        weights: NDArray[np.float64] = (
            torch.as_tensor(self.weights_).double().cpu().numpy()
        )
        return weights
