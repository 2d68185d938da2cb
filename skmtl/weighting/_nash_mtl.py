"""The bargaining solution."""

from skmtl.weighting._base import GradientWeighting, GradientWeightingModule
from skmtl.weighting._fairgrad import FairShares


class NashMTL(GradientWeighting):
    """Nash's bargaining solution: the product of what tasks gain is largest.

    The direction d maximises sum_t log(g_t . d) over a ball, so that the weights solve
    G w = 1 / w with the Gramian G [1]_: every weighted gradient has the same inner
    product with the step. This is `FairGrad` with ``alpha=1``, solved by Newton's
    method in place of the paper's sequence of convex programs, and without its limit
    on the length of the step.

    Parameters
    ----------
    gradient_at : {"representation", "parameters"}, default="representation"
        Where gradients are taken; see `GradientWeighting`.
    update_every : int, default=1
        Recompute the weights every k steps; the steps between use the last ones.

    References
    ----------
    .. [1] A. Navon et al., "Multi-Task Learning as a Bargaining Game", ICML 2022.

    Examples
    --------
    >>> from skmtl import MultiTaskClassifier
    >>> from skmtl.weighting import NashMTL
    >>> MultiTaskClassifier(weighting=NashMTL()).weighting
    NashMTL()
    """

    name = "nash_mtl"

    def build(self, n_tasks: int) -> GradientWeightingModule:
        """Build the solver."""
        return FairShares(alpha=1)
