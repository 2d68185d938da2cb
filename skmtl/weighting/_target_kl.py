"""Weights from how far the labels are from the distribution that they should have."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from numbers import Integral, Real
from typing import Any, ClassVar

import torch
from numpy.typing import NDArray
from sklearn.base import clone

from skmtl._core.validation import Interval, StrOptions
from skmtl.weighting._base import TaskLabels, Weighting, WeightingModule
from skmtl.weighting._equal import _Fixed
from skmtl.weighting._label_shift import LabelShift, label_shifts


class TargetKL(Weighting):
    r"""Weights from target distributions of the labels.

    Of each task, P is the distribution that its labels should have and Q the one that
    they have in the training data, counted by their weights. How far the data are from
    the target is :math:`D_{KL}(P \| Q) = \sum_y P(y) \log (P(y) / Q(y))` [1]_.

    With ``mode="examples"`` each label weighs :math:`P(y) / Q(y)` times what it did, in
    training and validation, so that losses are those of the target distribution, as in
    correcting for label shift [2]_; tasks weigh the same. With ``mode="tasks"`` labels
    stay as they are and task t weighs in proportion to :math:`\exp(D_t / \tau)`.

    Values of regression fall into bins of equal width from the least to the largest
    training value; values beyond belong to the outermost bins. Where P asks for a class
    or bin that no training label has, D would be infinite: Q then counts half a label
    of mean weight there. A task without training labels counts as on target.

    Parameters
    ----------
    target : None, dict or sequence, default=None
        P of each task, as ``{task name: P}`` (tasks left out are uniform) or as a
        sequence of one entry per task. P is None, uniform over classes or bins; a dict
        ``{class: probability}``, where classes left out have none; or a sequence of
        probabilities, one per class in sorted order or one per bin.
    mode : {"examples", "tasks"}, default="examples"
        Whether to weigh labels or tasks.
    temperature : float, default=1.0
        :math:`\tau`, for ``mode="tasks"``: the larger, the closer to equal weights.
    inverse : bool, default=False
        For ``mode="tasks"``, whether tasks far from their target get less instead of
        more, :math:`\exp(-D_t / \tau)`.
    n_bins : int, default=10
        Number of bins of each regression task.

    Notes
    -----
    ``weighting_`` of a fitted estimator has the buffers ``divergences`` of shape
    (n_tasks,) and ``P`` and ``Q`` of shape (n_tasks, n_values), zero beyond a task's
    own classes or bins. Few labels in a class or bin that P asks for weigh a lot each:
    look at the divergences before trusting the weights.

    References
    ----------
    .. [1] S. Kullback and R. A. Leibler, "On Information and Sufficiency", Annals of
       Mathematical Statistics 22, 1951.
    .. [2] Z. Lipton, Y.-X. Wang and A. Smola, "Detecting and Correcting for Label Shift
       with Black Box Predictors", ICML 2018.

    Examples
    --------
    >>> from skmtl import MultiTaskClassifier
    >>> from skmtl.weighting import TargetKL
    >>> target = {"purchase": {"no": 0.7, "yes": 0.3}}
    >>> MultiTaskClassifier(weighting=TargetKL(target)).weighting
    TargetKL(target={'purchase': {'no': 0.7, 'yes': 0.3}})
    """

    name = "target_kl"
    _parameter_constraints: ClassVar[dict[str, list[Any]]] = {
        "target": [dict, "array-like", None],
        "mode": [StrOptions({"examples", "tasks"})],
        "temperature": [Interval(Real, 0, None, closed="neither")],
        "inverse": ["boolean"],
        "n_bins": [Interval(Integral, 1, None, closed="left")],
    }

    #: What `for_labels` found; nothing in a spec that saw no labels.
    shifts_: Sequence[LabelShift] = ()

    def __init__(
        self,
        target: Any = None,
        mode: str = "examples",
        temperature: float = 1.0,
        inverse: bool = False,
        n_bins: int = 10,
    ) -> None:
        self.target = target
        self.mode = mode
        self.temperature = temperature
        self.inverse = inverse
        self.n_bins = n_bins

    def for_labels(self, tasks: Sequence[TaskLabels]) -> Weighting:
        """Compare the training labels with their targets."""
        spec: TargetKL = clone(self)
        spec.shifts_ = label_shifts(tasks, self.target, self.n_bins)
        for task, shift in zip(tasks, spec.shifts_, strict=True):
            if self.mode == "examples" and not (shift.P * shift.Q).any():
                raise ValueError(
                    f"The 'target' of task {task.name!r} gives none of its training "
                    "labels a probability: use mode='tasks', or change the target."
                )
        return spec

    def label_weights(self, task: int, labels: NDArray[Any]) -> NDArray[Any] | None:
        """Return P / Q of each label where labels are weighed."""
        if self.mode == "tasks" or not self.shifts_:
            return None
        return self.shifts_[task].ratios(labels)

    def alone(self, number: int, name: Any) -> Weighting:
        """Return the spec with the target of one task."""
        if isinstance(self.target, Mapping):
            task_target = self.target.get(name)
        else:
            task_target = None if self.target is None else self.target[number]
        spec: TargetKL = clone(self)
        spec.target = None if task_target is None else [task_target]
        return spec

    def build(self, n_tasks: int) -> WeightingModule:
        """Build the constant weights; equal ones where no labels were seen."""
        scale = 0.0 if self.mode == "examples" else 1 / self.temperature
        return _TargetKL(
            self.shifts_ or [LabelShift.identity()] * n_tasks,
            -scale if self.inverse else scale,
        )


class _TargetKL(_Fixed):
    def __init__(self, shifts: Sequence[LabelShift], scale: float) -> None:
        divergences = torch.tensor([s.divergence for s in shifts], dtype=torch.float64)
        super().__init__((scale * divergences).softmax(dim=0))
        self.register_buffer("divergences", divergences)
        for name in ("P", "Q"):
            rows = [torch.from_numpy(getattr(shift, name)) for shift in shifts]
            padded = torch.nn.utils.rnn.pad_sequence(rows, batch_first=True)
            self.register_buffer(name, padded)  # (tasks, values)
