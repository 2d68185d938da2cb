"""The part of the skorch net for what comes before a training and after it."""

import copy
import inspect
from typing import Any, ClassVar, Self

from skorch.callbacks import Callback

from skmtl.encoder._sparse import SparseInputs
from skmtl.training._history import TaskHistory
from skmtl.training._predicting import PredictingNet
from skmtl.training._processes import SINGLE_PROCESS, Processes
from skmtl.training._scoring import score_all_tasks

#: How many times the learning rate weights of sparse columns have, and their ``eps``.
SPARSE_STEPS = {"features": (10, 0.12), "linear": (100, 0.06)}


class KeptNet(PredictingNet):
    """A skorch net that can be built, copied and stripped of training state."""

    #: Attributes that only training needs.
    of_training: ClassVar[tuple[str, ...]] = (
        "processes",
        "_parameters",
        "_batches_read",
        "_balance",
        "_trace",
        "_stops",
        "_stopped",
        "_said",
        "_progress",
        "judging",
        "keeps_best",
        "checkpoints",
    )
    processes: Processes = SINGLE_PROCESS  # Those that train it.
    training_dtype: Any  # Type of the parameters in training.
    optimizer_: Any
    task_weight: Any
    weight_decay: float
    weighting: Any
    weighting_: Any

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
        known = inspect.signature(self.optimizer).parameters
        learned, groups = list(self.weighting_.parameters()), []
        if "betas" in known and "eps" in known:
            groups = self._sparse_groups(kwargs["lr"], "weight_decay" in known)
        apart = {p for group in groups for p in group["params"]}
        parameters = [p for p in self.module_.parameters() if p not in apart]
        if "weight_decay" in known:
            kwargs["weight_decay"] = self.weight_decay
            groups += [{"params": learned, "weight_decay": 0.0}] if learned else []
        else:
            parameters += learned
        every = [{"params": parameters}, *groups] if groups else parameters
        self.optimizer_ = self.optimizer(every, **kwargs)
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

    def replica(self, settings: dict[str, Any]) -> Self:
        """Return a copy that trains on without touching this net."""
        net: Any = object.__new__(type(self))
        net.__dict__.update({**vars(self), **settings})
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
        return {k: v for k, v in state.items() if k not in self.of_training}

    def strip(self, callbacks: list[Any], keep_optimizer: bool) -> None:
        """Drop what only training needs, keeping the user's own callbacks."""
        self.callbacks = callbacks
        self.callbacks_: list[tuple[str, Any]] = [
            (name, callback)
            for name, callback in self.callbacks_
            if any(callback is own for own in callbacks)
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
        for name in self.of_training:
            vars(self).pop(name, None)  # type: ignore[attr-defined]
