"""One network per task, tied by a penalty."""

from __future__ import annotations

from numbers import Real
from typing import TYPE_CHECKING, Any, ClassVar

import torch
from torch import Tensor

from skmtl._core.numerics import trace_norm
from skmtl._core.validation import Interval, StrOptions
from skmtl.sharing._base import Sharing, SharingModule

if TYPE_CHECKING:
    from skmtl.encoder import Encoder, EncoderModule


class Soft(Sharing):
    r"""One network per task, whose weights a penalty ties to those of the others.

    With the L2 tie [1]_, the penalty is
    :math:`\frac{1}{T} \sum_t \lVert \theta_t - \bar\theta \rVert^2`, the distance of
    the tasks' weights from their mean; a large strength makes the weights equal. With
    the trace norm [2]_, it is :math:`\sum_p \lVert \Theta_p \rVert_*`, the sum of the
    singular values of each parameter's matrix of T rows, one per task; a large strength
    lowers the rank, so that weights of tasks are combinations of a few.

    Parameters
    ----------
    tie : {"l2", "trace_norm"}, default="l2"
        What is penalised.
    strength : float, default=0.01
        Weight of the penalty in the loss. Zero leaves the tasks independent.

    Notes
    -----
    All tasks start from the same weights: hidden units have no order, so that a tie
    between units of the same number makes sense only where these start as the same
    unit. Tied to the mean of unlike starts, weights would also shrink by
    :math:`\sqrt T`.

    In [1]_ one of two tasks is tied to the other; here every task is tied to the mean
    of all, which for two tasks differs by a factor. Of the trace norms of [2]_, this is
    the one that flattens all axes but the tasks'. Singular values that are zero but for
    rounding get no gradient, the smallest subgradient. Every step decomposes every
    parameter, at a cost that grows with the square of the number of tasks.

    References
    ----------
    .. [1] L. Duong, T. Cohn, S. Bird and P. Cook, "Low Resource Dependency Parsing:
       Cross-lingual Parameter Sharing in a Neural Network Parser", ACL 2015.
    .. [2] Y. Yang and T. M. Hospedales, "Trace Norm Regularised Deep Multi-Task
       Learning", ICLR workshop 2017.

    Examples
    --------
    >>> from skmtl import MultiTaskClassifier
    >>> from skmtl.sharing import Soft
    >>> est = MultiTaskClassifier(sharing=Soft("trace_norm"))
    >>> est.set_params(sharing__strength=0.1).sharing
    Soft(strength=0.1, tie='trace_norm')
    """

    name = "soft"
    _parameter_constraints: ClassVar[dict[str, list[Any]]] = {
        "tie": [StrOptions({"l2", "trace_norm"})],
        "strength": [Interval(Real, 0, None, closed="left")],
    }

    def __init__(self, tie: str = "l2", strength: float = 0.01) -> None:
        self.tie = tie
        self.strength = strength

    def build(
        self, encoder: Encoder, input_shape: tuple[int, ...], n_tasks: int
    ) -> SharingModule:
        """Build one column per task, all with the same weights."""
        columns = encoder.build(input_shape, n_tasks)
        if n_tasks > 1:
            first = {
                name: stack[:1].detach().clone().expand_as(stack)
                for name, stack in columns.stacks().items()
            }
            # Not strict: buffers stay as they are.
            columns.load_state_dict(columns.from_stacks(first), strict=False)
        return _Soft(columns, self.tie, self.strength)


class _Soft(SharingModule):
    def __init__(self, columns: EncoderModule, tie: str, strength: float) -> None:
        super().__init__()
        self.columns = columns
        self.width = columns.width
        self.measure = {"l2": _measure_spread, "trace_norm": _trace_norm}[tie]
        self.strength = strength

    def forward(self, X: Tensor) -> tuple[Tensor, Tensor | None]:
        return self.columns(X).transpose(0, 1), None  # (n, tasks, width)

    def penalty(self) -> Tensor | None:
        if not self.strength or self.columns.n_copies == 1:
            return None
        measured = [self.measure(stack) for stack in self.columns.stacks().values()]
        if not measured:  # an encoder may have no parameters
            return None
        return self.strength * torch.stack(measured).sum()


def _measure_spread(stack: Tensor) -> Tensor:
    """Return the mean over tasks of the squared distance from their mean."""
    return (stack - stack.mean(dim=0)).square().sum() / len(stack)


def _trace_norm(stack: Tensor) -> Tensor:
    """Return the trace norm of a matrix with one row per task."""
    return trace_norm(stack.flatten(1))
