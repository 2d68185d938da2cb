"""The part of the skorch net for what comes before a training and after it."""

import copy
import inspect
from typing import Any, Self

from skorch.callbacks import Callback

from skmtl.training._predicting import PredictingNet
from skmtl.training._processes import ALONE, Processes


class KeptNet(PredictingNet):
    """A skorch net that is built, copied to train on, and rid of what training needs.

    Attributes
    ----------
    processes : Processes
        Those that train it.
    training_dtype : torch.dtype
        Type of the parameters in training.
    """

    processes: Processes = ALONE
    training_dtype: Any
    optimizer_: Any
    task_weight: Any
    weight_decay: float
    weighting: Any
    weighting_: Any

    @property
    def _default_callbacks(self) -> list[tuple[str, Callback]]:
        return []

    def initialize_criterion(self) -> Self:
        """Build the losses and the weighting, whose parameters are trained too."""
        super().initialize_criterion()
        n_tasks = len(self.task_weight)
        self.weighting_ = self.weighting.build(n_tasks).to(self.dtype)
        return self

    def initialize_optimizer(self, triggered_directly: bool | None = None) -> Any:
        """Build the optimizer; learned task weights don't decay."""
        _, kwargs = self.get_params_for_optimizer("optimizer", [])
        parameters: list[Any] = list(self.module_.parameters())
        learned = list(self.weighting_.parameters())
        if "weight_decay" in inspect.signature(self.optimizer).parameters:
            kwargs["weight_decay"] = self.weight_decay
            if learned:
                parameters = [
                    {"params": parameters},
                    {"params": learned, "weight_decay": 0.0},
                ]
                learned = []
        self.optimizer_ = self.optimizer(parameters + learned, **kwargs)
        return self

    def replica(self, settings: dict[str, Any]) -> Self:
        """Return a copy that trains on without touching this net.

        Parameters
        ----------
        settings : dict
            Parameters to change, such as the learning rate.

        Returns
        -------
        KeptNet
            The copy, in the type that training uses.
        """
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
            net.optimizer_.load_state_dict(self.optimizer_.state_dict())
            for group, now in zip(
                net.optimizer_.param_groups, settings_now, strict=True
            ):
                group.update(now)
        return net  # type: ignore[no-any-return]

    def strip(self, callbacks: list[Any], keep_optimizer: bool) -> None:
        """Drop what only training needs, keeping the user's own callbacks.

        Parameters
        ----------
        callbacks : list
            The user's callbacks, which replace those of training.
        keep_optimizer : bool
            Whether the optimizer's state stays, for a net that will train on.
        """
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
        for name in (
            "processes",
            "_parameters",
            "_balance",
            "_trace",
            "_stops",
            "_stopped",
            "_said",
            "judging",
            "checkpoints",
        ):
            vars(self).pop(name, None)  # type: ignore[attr-defined]
