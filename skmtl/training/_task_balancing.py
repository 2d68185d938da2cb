"""How the tasks of a training run are balanced, step by step."""

from contextlib import AbstractContextManager, nullcontext
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from skmtl._core.validation import warn_user
from skmtl.training._distributed import SINGLE_PROCESS, Processes
from skmtl.training._gradients import TaskGradients
from skmtl.training._losses import EpochGradients
from skmtl.training._module import ForwardPass, MultiTaskModule
from skmtl.training._torch_state import allow_reusable_graphs
from skmtl.weighting import (
    GradientCombiningModule,
    GradientWeightingModule,
    Weighting,
    WeightingModule,
)
from skmtl.weighting._gramian_solvers import MIN_RELATIVE_SUM


class TaskBalancer:
    """Goes back from the tasks' losses with the weights that a weighting gives them."""

    # Weights sum to the number of tasks present in a batch, so that the learning rate
    # means the same under every weighting.
    # task_weight (n_tasks,): Fixed factors of the weights; zero for a task that has
    # nothing to learn.

    def __init__(
        self,
        module: MultiTaskModule,
        weighting: WeightingModule,
        spec: Weighting,
        task_weight: Tensor,
        record_gradients: bool,
        processes: Processes = SINGLE_PROCESS,
    ) -> None:
        self.module = module
        self.processes = processes
        self.weighting = weighting
        self.set_task_weight(task_weight)
        self.name = type(spec).__name__
        self.update_every = getattr(spec, "update_every", 1)
        self.gradients = self._make_task_gradients(spec, record_gradients)
        self._n_steps = 0
        self._failures = int(getattr(weighting, "failures", 0))
        self._warned = False
        self._raw = torch.ones_like(task_weight)
        self.begin_epoch()

    def set_task_weight(self, task_weight: Tensor) -> None:
        """Set the fixed factors of the weights."""
        # task_weight of shape (n_tasks,).
        self.task_weight = task_weight
        self.n_active = int((task_weight > 0).sum())
        self._alike = bool((task_weight == 1).all())
        self.active = None if self.n_active == len(task_weight) else task_weight > 0
        self.fixed: Tensor | None = None
        if self.weighting.fixed:
            self.fixed = self._rescale(self.weighting(task_weight, None), None)

    def state_dict(self) -> dict[str, Any]:
        """Return what steps and epochs have changed."""
        return {
            "task_weight": self.task_weight,
            "n_steps": self._n_steps,
            "raw_weights": self._raw,
            "failures": self._failures,
            "warned": self._warned,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Bring back what steps and epochs have changed."""
        self.set_task_weight(state["task_weight"])
        self._n_steps, self._raw = state["n_steps"], state["raw_weights"]
        self._failures, self._warned = state["failures"], state["warned"]

    def _make_task_gradients(
        self, spec: Weighting, record: bool
    ) -> TaskGradients | None:
        """Return what takes gradients task by task, where that is asked for."""
        balances = isinstance(self.weighting, GradientWeightingModule)
        if not balances and not record:
            return None
        at = getattr(spec, "gradient_at", "representation")
        gradients = TaskGradients(self.module, at, self.processes)
        if self.n_active > 1 and gradients.shared:
            return gradients
        if balances:
            reason = "one task trains" if self.n_active < 2 else "they share none"
            warn_user(
                f"{self.name} balances gradients of several tasks in the "
                f"parameters that they share, but {reason}: it works as 'equal'.",
            )
        return None

    def graphs(self) -> AbstractContextManager[None]:
        """Return the context in which to train."""
        return nullcontext() if self.gradients is None else allow_reusable_graphs()

    def begin_epoch(self) -> None:
        """Forget what the epoch before has recorded."""
        self._seen = EpochGradients()
        self._weights: list[Tensor] = []

    def end_epoch(self, losses: NDArray[np.float64]) -> dict[str, Any]:
        """Let the weighting see an epoch's mean losses; return what to record."""
        record: dict[str, Any] = {"train_weights": self._mean_weights().tolist()}
        if self._seen.n_looks:
            norms, cosines = self._seen.means()
            record["train_gradient_norms"] = norms.tolist()
            record["train_gradient_cosines"] = cosines.tolist()
        failures = int(getattr(self.weighting, "failures", 0))
        if hasattr(self.weighting, "failures"):
            record["solver_failures"] = failures - self._failures
        if failures > self._failures and not self._warned:
            self._warned = True
            warn_user(
                f"{self.name} found no weights in {failures - self._failures} of "
                f"{len(self._weights)} steps of an epoch, which used equal ones: "
                "history_ holds the number of each epoch.",
            )
        self._failures = failures
        with torch.no_grad():
            self.weighting.after_epoch(self.task_weight.new_tensor(losses))
        return record

    def _mean_weights(self) -> Tensor:
        """Return the mean over steps, and over members where there are any."""
        weights = torch.stack(self._weights)  # (steps, ..., tasks)
        return weights.reshape(-1, weights.shape[-1]).mean(dim=0)

    def weights(self, losses: Tensor, counts: Tensor | None) -> Tensor:
        """Return the tasks' weights in a step."""
        # losses of shape (n_tasks,), counts of shape (n_tasks,); returns (n_tasks,).
        if counts is None and self.fixed is not None:
            return self.fixed
        present = self._present(counts)
        return self._rescale(self.weighting(losses, present), present)

    def backward(
        self, trace: ForwardPass, losses: Tensor, counts: Tensor | None
    ) -> tuple[Tensor, Tensor | None]:
        """Give every parameter its gradient."""
        # losses of shape (n_tasks,), counts of shape (n_tasks,); returns weights of
        # shape (n_tasks,), penalty of shape ().
        penalty = self.processes.divide_by_processes(self.module.penalty())
        if self.gradients is None:
            weights = self._weigh_by_losses(losses, counts, penalty)
        else:
            weights = self._weigh_by_gradients(
                self.gradients, trace, losses, counts, penalty
            )
        self._weights.append(weights)
        return weights, None if penalty is None else penalty.detach()

    def _weigh_by_losses(
        self, losses: Tensor, counts: Tensor | None, penalty: Tensor | None
    ) -> Tensor:
        weights = self.weights(losses, counts)
        weighting_loss = self._own_loss(losses, counts)
        extra = [term for term in (penalty, weighting_loss) if term is not None]
        if weights.requires_grad and weighting_loss is None:
            sum(extra, (weights * losses).sum()).backward()
        elif extra:
            weights = weights.detach().expand_as(losses)
            seeds = [weights, *[None] * len(extra)]
            torch.autograd.backward([losses, *extra], seeds)
        else:
            losses.backward(weights.expand_as(losses))
        return weights.detach()

    def _weigh_by_gradients(
        self,
        gradients: TaskGradients,
        trace: ForwardPass,
        losses: Tensor,
        counts: Tensor | None,
        penalty: Tensor | None,
    ) -> Tensor:
        weighting, present = self.weighting, self._present(counts)
        balances = isinstance(weighting, GradientWeightingModule)
        (D,) = torch.autograd.grad(
            losses.sum(), trace.outputs, retain_graph=not balances
        )
        detached_losses, jacobian = losses.detach(), None
        if self._n_steps % self.update_every == 0:
            active = self.active if present is None else present
            if active is not None:
                D = D * active[self.module.heads.task_of_output]
            gramian, jacobian = gradients.compute_gramian(trace, D)
            self._seen.add(gramian)
            if isinstance(weighting, GradientWeightingModule):
                self._raw = weighting.from_gramian(
                    gramian, detached_losses, present
                ).detach()
        self._n_steps += 1
        if not isinstance(weighting, GradientWeightingModule):
            return self._weigh_by_losses(losses, counts, penalty)
        weights = self._rescale(self._replace_non_finite(self._raw, present), present)
        even = self._rescale(torch.ones_like(detached_losses), present)
        if isinstance(weighting, GradientCombiningModule):
            gradients.backward_combined(trace, D, penalty, even, weighting, present)
        else:
            gradients.backward(trace, D, penalty, weights, even, jacobian)
        weighting_loss = self._own_loss(losses, counts)
        if weighting_loss is not None:
            weighting_loss.backward()
        return weights

    def after_step(self, before: Tensor, after: Tensor, counts: Tensor | None) -> None:
        """Show the weighting what a step did to the losses of its batch."""
        self.weighting.after_step(before, after, self._present(counts))

    def _own_loss(self, losses: Tensor, counts: Tensor | None) -> Tensor | None:
        return self.weighting.own_loss(losses.detach(), self._present(counts))

    def _present(self, counts: Tensor | None) -> Tensor | None:
        """Return which tasks take part in a step; None for all of them."""
        if counts is None:
            return self.active
        return counts > 0 if self.active is None else (counts > 0) & self.active

    def _replace_non_finite(self, weights: Tensor, present: Tensor | None) -> Tensor:
        """Return weights, or equal ones where they cannot be rescaled."""
        # Weights from a step with other tasks, or after fixed factors, may cancel out.
        left = weights * self.task_weight
        left = left if present is None else left.where(present, 0)
        usable = left.sum() > MIN_RELATIVE_SUM * left.abs().sum()
        return torch.where(usable, weights, torch.ones_like(weights))

    def _rescale(self, weights: Tensor, present: Tensor | None) -> Tensor:
        if not self._alike:
            weights = weights * self.task_weight
        if present is None:
            return weights * (self.n_active / weights.sum(dim=-1, keepdim=True))
        weights = weights.where(present, 0)
        n_present = present.sum(dim=-1, keepdim=True)
        return weights * (
            n_present / weights.sum(dim=-1, keepdim=True).clamp_min(1e-30)
        )
