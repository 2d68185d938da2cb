"""One task counts; the others help."""

from collections.abc import Sequence
from numbers import Integral, Real
from typing import Any, ClassVar, Self

import torch
from sklearn.base import clone
from torch import Tensor

from skmtl._core.validation import Interval, StrOptions, resolve_task
from skmtl.weighting._base import (
    GradientWeighting,
    GradientWeightingModule,
    TaskLabels,
    Weighting,
    WeightingModule,
)


class PrimaryTask(Weighting):
    """One task counts; the others help while they do.

    With ``mode="decay"`` the other tasks weigh 0.5^(epoch / half_life), where epochs
    count from zero, and no gradients are needed. With ``mode="cosine"`` they weigh
    max(0, cos(g_t, g_p)) with the primary task's gradient g_p [1]_. The primary task
    weighs one, before weights are rescaled to sum to the number of tasks. Where it has
    no label in a batch, the others weigh the same, as there is nothing to help.

    Parameters
    ----------
    task : str or int, default=0
        The primary task, by name or number.
    mode : {"decay", "cosine"}, default="decay"
        What sets the weights of the other tasks.
    half_life : float or None, default=None
        Epochs in which their weights halve; None stands for 10. Only for
        ``mode="decay"``.
    gradient_at : {"representation", "parameters"}, default="representation"
        Where gradients are taken; see `GradientWeighting`. Only for
        ``mode="cosine"``, as is ``update_every``.
    update_every : int, default=1
        Recompute the weights every k steps; the steps between use the last ones.

    References
    ----------
    .. [1] Y. Du et al., "Adapting Auxiliary Losses Using Gradient Similarity", 2018.

    Examples
    --------
    >>> from skmtl import MultiTaskClassifier
    >>> from skmtl.weighting import PrimaryTask
    >>> MultiTaskClassifier(weighting=PrimaryTask(half_life=5)).weighting
    PrimaryTask(half_life=5)
    """

    name = "primary_task"
    unsaid = (
        "names no task, so that the first one is primary: give "
        "skmtl.weighting.PrimaryTask(task)"
    )
    _parameter_constraints: ClassVar[dict[str, list[Any]]] = {
        **GradientWeighting._parameter_constraints,
        "task": [str, Integral],
        "mode": [StrOptions({"decay", "cosine"})],
        "half_life": [None, Interval(Real, 0, None, closed="neither")],
    }

    def __init__(
        self,
        task: Any = 0,
        mode: str = "decay",
        half_life: float | None = None,
        gradient_at: str = "representation",
        update_every: int = 1,
    ) -> None:
        self.task = task
        self.mode = mode
        self.half_life = half_life
        self.gradient_at = gradient_at
        self.update_every = update_every

    def validate(self) -> Self:
        """Check the settings, also that the mode has a use for them."""
        super().validate()
        if self.mode == "cosine" and self.half_life is not None:
            raise ValueError(
                f"PrimaryTask has no use for half_life={self.half_life!r} with "
                f"mode='cosine': leave it None, or set mode='decay'."
            )
        if self.mode == "decay" and (self.gradient_at, self.update_every) != (
            "representation",
            1,
        ):
            raise ValueError(
                f"PrimaryTask has no use for gradient_at={self.gradient_at!r} and "
                f"update_every={self.update_every} with mode='decay', which looks at "
                "no gradients: leave them at their defaults, or set mode='cosine'."
            )
        return self

    def for_labels(self, tasks: Sequence[TaskLabels]) -> "PrimaryTask":
        """Find the number of the primary task."""
        names = [task.name for task in tasks]
        number = resolve_task(self.task, names, "The 'task' parameter of PrimaryTask")
        return clone(self).set_params(task=number)  # type: ignore[no-any-return]

    def build(self, n_tasks: int) -> WeightingModule:
        """Build the schedule or the gate."""
        where = "The 'task' parameter of PrimaryTask"
        task = resolve_task(self.task, range(n_tasks), where)
        if self.mode == "cosine":
            return _Cosine(task)
        return _Decay(n_tasks, task, 10 if self.half_life is None else self.half_life)


class _Decay(WeightingModule):
    rates: Tensor
    epochs: Tensor

    def __init__(self, n_tasks: int, task: int, half_life: float) -> None:
        super().__init__()
        rates = torch.full((n_tasks,), 1 / half_life)
        rates[task] = 0
        self.register_buffer("rates", rates)
        self.register_buffer("epochs", torch.zeros((), dtype=torch.int64))

    def forward(self, losses: Tensor, present: Tensor | None) -> Tensor:
        return torch.exp2(-self.rates * self.epochs)

    def after_epoch(self, losses: Tensor) -> None:
        self.epochs += 1


class _Cosine(GradientWeightingModule):
    def __init__(self, task: int) -> None:
        super().__init__()
        self.task = task

    def from_gramian(
        self, gramian: Tensor, losses: Tensor, present: Tensor | None
    ) -> Tensor:
        norms = gramian.diagonal().clamp(min=0).sqrt()
        tiny = torch.finfo(norms.dtype).tiny
        primary_norm = norms[self.task]
        cosines = (
            gramian[self.task] / primary_norm.clamp(min=tiny) / norms.clamp(min=tiny)
        )
        helps = cosines.clamp(0, 1)
        helps[self.task] = 1
        return torch.where(primary_norm > 0, helps, torch.ones_like(helps)).to(losses)
