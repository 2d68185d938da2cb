"""A fitted model as one module: from raw inputs to what every task predicts."""

import copy
from typing import Any

import torch
from torch import Tensor, nn

from skmtl._data.targets import Targets
from skmtl._estimators.persistence.onnx_quantile import OnnxNormal
from skmtl.encoder import InputStage
from skmtl.encoder._preprocessing import QuantileToNormal, TableStage
from skmtl.training import (
    MembersNet,
    MultiTaskNet,
    apply_temperatures,
    average_networks,
)


class _Scaler(InputStage):
    """Scales in operators that ONNX has, and passes on what is missing."""

    def __init__(self, scaler: nn.Module) -> None:
        super().__init__()
        quantiles = isinstance(scaler, QuantileToNormal)
        self.scaler = OnnxNormal(scaler) if quantiles else scaler  # type: ignore[arg-type]

    def forward(self, X: Tensor) -> Tensor:
        Z = self.scaler(X)  # runtimes may put a bound in place of NaN
        return torch.where(X.isnan(), torch.nan, Z)


class InferenceModule(nn.Module):
    """Does what ``predict_proba`` does, and ``predict`` for numbers."""

    # Members are computed one after the other, without `torch.vmap`. Inputs are scaled,
    # and outputs averaged, in the precision of the net.

    prior: Tensor
    mean: Tensor
    scale: Tensor

    def __init__(self, net: MultiTaskNet, targets: Targets, dtype: torch.dtype) -> None:
        super().__init__()
        whole: Any = copy.deepcopy(net.module_).cpu().eval()
        self.input_dtype = whole.input_dtype
        networks, self.slopes = [whole], None
        if isinstance(net, MembersNet):
            networks = [whole.member(i) for i in range(net.n_estimators)]
            self.slopes = net.slopes
        self.stage = networks[0].inputs
        if isinstance(self.stage, TableStage) and self.stage.scaler is not None:
            self.stage.scaler = _Scaler(self.stage.scaler)
        for network in networks:
            network.inputs = None  # what raw inputs go through, they go through once
        self.networks = nn.ModuleList(networks).eval().to(dtype)
        self.dtype, self.output_dtype, self.targets = dtype, net.dtype, targets
        self.register_buffer("prior", torch.from_numpy(net.module__prior)[None])
        self.register_buffer("mean", torch.from_numpy(targets.mean))
        self.register_buffer("scale", torch.from_numpy(targets.scale))

    def forward(self, X: Tensor) -> tuple[Tensor, ...]:
        """Map inputs to one tensor per task."""
        # They are probabilities of shape (n, n_classes), or values of shape (n,).
        X = X.to(self.input_dtype)
        X = X if self.stage is None else self.stage(X)
        outputs = torch.stack([net(X.to(self.dtype)) for net in self.networks])
        outputs, blocks = outputs.to(self.output_dtype), self.targets.blocks
        Z = outputs[0] if len(outputs) == 1 else average_networks(outputs, blocks)
        if self.slopes is not None:
            Z = apply_temperatures(Z, self.slopes, blocks, self.prior.to(Z))
        return self._split_tasks(Z)

    def _split_tasks(self, Z: Tensor) -> tuple[Tensor, ...]:
        """Split packed outputs, and give each task's their meaning."""
        # A task of one class has no output.
        predictions = [Z.new_ones(Z.shape[0], 1) for _ in self.targets.task_types]
        for block in self.targets.blocks:
            Z_block = block.select(Z)
            if block.task_type == "classification":
                proba = block.predict_proba(Z_block)  # (tasks, n, size)
                for j, t in enumerate(block.tasks):
                    predictions[t] = proba[j, :, : self.targets.n_classes[t]]
            else:
                for j, t in enumerate(block.tasks):
                    predictions[t] = (
                        Z_block[:, j].double() * self.scale[t] + self.mean[t]
                    )
        return tuple(predictions)


class TaskOutput(nn.Module):
    """Returns what a served model says of one task, of shape (n, n_columns)."""

    def __init__(self, served: InferenceModule, number: int) -> None:
        super().__init__()
        self.served = served
        self.number = number

    def forward(self, X: Tensor) -> Tensor:
        """Map inputs to probabilities of the task's classes, or to its value."""
        prediction = self.served(X)[self.number]
        return prediction if prediction.ndim == 2 else prediction.unsqueeze(1)
