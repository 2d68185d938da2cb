"""Gradients of the tasks' losses: their Gramian, and a step that they balance."""

from collections.abc import Sequence
from functools import partial

import torch
from torch import Tensor

from skmtl.training._distributed import SINGLE_PROCESS, Processes
from skmtl.training._module import ForwardPass, MultiTaskModule
from skmtl.weighting import GradientCombiningModule

#: Numbers in the seeds of one batched backward pass; more tasks than fit take turns.
SEED_NUMBERS = 2**24
#: Outputs up to which products of outputs are cheaper than gradients at features.
MANY_OUTPUTS = 4096


class TaskGradients:
    """Backward passes of a network, task by task."""

    # Heads and parameters of single tasks keep their own gradient; shared parameters
    # get a sum that is weighted by task. No parameter of one task depends on another's
    # loss, so that outputs tell tasks apart: the gradient of task t at the outputs is
    # that of the sum of all losses, in the columns of t.

    def __init__(
        self, module: MultiTaskModule, at: str, processes: Processes = SINGLE_PROCESS
    ) -> None:
        self.module = module
        self.at = at
        self.processes = processes
        shared = set(module.shared_parameters())
        self.shared = [p for p in module.parameters() if p in shared]
        self.own = [p for p in module.parameters() if p not in shared]
        self._batched = True

    def compute_gramian(
        self, trace: ForwardPass, D: Tensor
    ) -> tuple[Tensor, list[Tensor] | None]:
        """Return the Gramian of the tasks' gradients, and gradients if they exist."""
        # D of shape (n, n_outputs); returns gramian of shape (n_tasks, n_tasks),
        # jacobian lists of shape (n_tasks, ...).
        features = trace.shared
        if self.at == "parameters" or features is None or not features.requires_grad:
            jacobian = self.differentiate_parameters(trace, D)
            return _multiply_gradients(
                self.processes.all_reduce_many(jacobian)
            ), jacobian
        if trace.heads_only and D.shape[1] <= MANY_OUTPUTS:
            gramian = self._gramian_at_heads(trace.mixing, D)
        else:
            gramian = _multiply_gradients([self.differentiate_features(trace, D)])
        return self.processes.all_reduce(gramian), None  # rows are those of one process

    def differentiate_features(self, trace: ForwardPass, D: Tensor) -> Tensor:
        """Return the tasks' gradients at shared features."""
        # D of shape (n, n_outputs); returns (n_tasks, n, ...).
        if trace.heads_only and trace.mixing is None:
            return self.module.heads.gradients(D)
        features: Tensor = trace.shared  # type: ignore[assignment]
        (gradients,) = self._compute_jacobian(
            trace.outputs, [features], D, self._tasks(D)
        )
        return gradients

    def differentiate_parameters(
        self, trace: ForwardPass, D: Tensor, tasks: Tensor | None = None
    ) -> list[Tensor]:
        """Return the tasks' gradients at shared parameters."""
        # D of shape (n, n_outputs), tasks of shape (n_some,); returns lists (n_some,
        # ...).
        tasks = self._tasks(D) if tasks is None else tasks
        if trace.heads_only and trace.mixing is None:  # all of them lie below features
            seeds = self.module.heads.gradients(D)[tasks]
            features: Tensor = trace.shared  # type: ignore[assignment]
            return list(self._rows(features, self.shared, seeds))
        return self._compute_jacobian(trace.outputs, self.shared, D, tasks)

    def _tasks(self, D: Tensor) -> Tensor:
        return torch.arange(self.module.n_tasks, device=D.device)

    def _gramian_at_heads(self, mixing: Tensor | None, D: Tensor) -> Tensor:
        """Return the Gramian at features that heads read, without those gradients."""
        # The gradient of output o is d_o w_o, with the weights w_o of its head.
        W, owner = self.module.heads.weight.detach(), self.module.heads.task_of_output
        if mixing is None:
            C = D.T @ D
        else:
            G = mixing.detach().mT.index_select(-1, owner)  # (..., n_mixed, n_outputs)
            A = D.unsqueeze(1) * G if G.ndim == 3 else D
            A = A.flatten(0, -2)
            C = A.T @ A if G.ndim == 3 else (A.T @ A) * (G.T @ G)
        C = C * (W @ W.T)  # (n_outputs, n_outputs)
        T = self.module.n_tasks
        C = C.new_zeros(T, C.shape[1]).index_add_(0, owner, C)
        return C.new_zeros(T, T).index_add_(1, owner, C)

    def _compute_jacobian(
        self, outputs: Tensor, inputs: Sequence[Tensor], D: Tensor, tasks: Tensor
    ) -> list[Tensor]:
        """Return tasks' gradients at some tensors, for each a row per task."""
        owner = self.module.heads.task_of_output
        parts = []
        for task_chunk in tasks.split(max(1, SEED_NUMBERS // max(1, D.numel()))):
            mask = task_chunk[:, None, None] == owner  # (some tasks, 1, n_outputs)
            parts.append(self._rows(outputs, inputs, D * mask))
        if len(parts) == 1:
            return list(parts[0])
        return [torch.cat(rows) for rows in zip(*parts, strict=True)]

    def _rows(
        self, outputs: Tensor, inputs: Sequence[Tensor], seeds: Tensor
    ) -> Sequence[Tensor]:
        if self._batched:
            try:
                return _compute_gradients(outputs, inputs, seeds, True)
            except torch.OutOfMemoryError:
                raise
            except RuntimeError:  # of operations that cannot go back for many at once
                self._batched = False
        rows = [_compute_gradients(outputs, inputs, seed, False) for seed in seeds]
        return [torch.stack(gradients) for gradients in zip(*rows, strict=True)]

    def backward(
        self,
        trace: ForwardPass,
        D: Tensor,
        penalty: Tensor | None,
        weights: Tensor,
        own_weights: Tensor,
        jacobian: list[Tensor] | None,
    ) -> None:
        """Give every parameter its gradient."""
        # D of shape (n, n_outputs), penalty of shape (), weights of shape (n_tasks,),
        # own_weights of shape (n_tasks,), jacobian lists of shape (n_tasks, ...).
        owner = self.module.heads.task_of_output
        roots = [trace.outputs] if penalty is None else [trace.outputs, penalty]
        seeds = [D * own_weights[owner], None][: len(roots)]
        torch.autograd.backward(roots, seeds, retain_graph=True, inputs=self.own)
        if jacobian is None:
            seeds[0] = D * weights[owner]
            torch.autograd.backward(roots, seeds, inputs=self.shared)
            return
        if penalty is not None:
            torch.autograd.backward(penalty, inputs=self.shared)
        for parameter, rows in zip(self.shared, jacobian, strict=True):
            gradient = (weights @ rows.flatten(1)).view_as(parameter)
            grad = parameter.grad
            parameter.grad = gradient if grad is None else grad + gradient

    def backward_combined(
        self,
        trace: ForwardPass,
        D: Tensor,
        penalty: Tensor | None,
        own_weights: Tensor,
        weighting: GradientCombiningModule,
        present: Tensor | None,
    ) -> None:
        """Give every parameter its gradient, with one of its own at the features."""
        # D of shape (n, n_outputs), penalty of shape (), own_weights of shape
        # (n_tasks,), present of shape (n_tasks,).
        features = trace.shared
        D = D * own_weights[self.module.heads.task_of_output]
        if features is not None and features.requires_grad:
            combined = self.processes.apply_to_all(
                partial(weighting.combine, present=present),
                self.differentiate_features(trace, D),
                dim=1,
            )
            combined = combined.to(features.dtype)  # lower under autocast
            features.register_hook(lambda _: combined)  # goes with the graph
        roots = [trace.outputs] if penalty is None else [trace.outputs, penalty]
        torch.autograd.backward(roots, [D, None][: len(roots)])


def _compute_gradients(
    outputs: Tensor, inputs: Sequence[Tensor], seeds: Tensor, batched: bool
) -> tuple[Tensor, ...]:
    return torch.autograd.grad(
        outputs,
        list(inputs),
        seeds,
        retain_graph=True,
        is_grads_batched=batched,
        allow_unused=True,
        materialize_grads=True,
    )


def _multiply_gradients(jacobian: Sequence[Tensor]) -> Tensor:
    """Return inner products of rows that stand in several tensors."""
    flat = [rows.flatten(1) for rows in jacobian]
    return torch.stack([J @ J.T for J in flat]).sum(dim=0)
