"""Soft optimal uncertainty weighting."""

from numbers import Real
from typing import Any, ClassVar

from torch import Tensor

from skmtl._core.validation import Interval
from skmtl.weighting._base import (
    Weighting,
    WeightingModule,
    clamp_positive,
    compute_present_softmax,
)


class UWSO(Weighting):
    r"""UW-SO: soft optimal uncertainty weighting, a softmax of inverse losses.

    .. math:: w_t = \frac{\exp(1 / (\tau L_t))}{\sum_s \exp(1 / (\tau L_s))}

    with the losses detached. The weights :math:`1 / L_t` are the ones at which
    `Uncertainty` ends for given losses; there is nothing to learn and no lag.

    Parameters
    ----------
    temperature : float, default=10.0
        The :math:`\tau` above: the higher, the more equal the weights. In [1]_ it is
        tuned for each data set.

    Notes
    -----
    Easy tasks get more weight: where 1 / L of two tasks differs by more than a few
    temperatures, the one of higher loss gets next to none. Losses below the resolution
    of their type count as if they were there.

    References
    ----------
    .. [1] L. Kirchdorfer et al., "Analytical Uncertainty-Based Loss Weighting in
       Multi-Task Learning", GCPR 2024.

    Examples
    --------
    >>> from skmtl import MultiTaskClassifier
    >>> from skmtl.weighting import UWSO
    >>> MultiTaskClassifier(weighting=UWSO(temperature=5.0)).weighting
    UWSO(temperature=5.0)
    """

    name = "uw_so"
    _parameter_constraints: ClassVar[dict[str, list[Any]]] = {
        "temperature": [Interval(Real, 0, None, closed="neither")],
    }

    def __init__(self, temperature: float = 10.0) -> None:
        self.temperature = temperature

    def build(self, n_tasks: int) -> WeightingModule:
        """Build the map from losses to weights."""
        return _UWSO(self.temperature)


class _UWSO(WeightingModule):
    def __init__(self, temperature: float) -> None:
        super().__init__()
        self.temperature = temperature

    def forward(self, losses: Tensor, present: Tensor | None) -> Tensor:
        inverses = clamp_positive(losses).reciprocal()
        return compute_present_softmax(inverses, present, self.temperature)
