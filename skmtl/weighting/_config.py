"""Equal positive cosines with all gradients."""

from skmtl.weighting._base import GradientWeighting, GradientWeightingModule
from skmtl.weighting._imtl_g import EqualProjections


class ConFIG(GradientWeighting):
    """Conflict-free inverse gradients: the step has equal cosines with all gradients.

    The direction is pinv(U) 1, where the rows of U are the unit gradients [1]_; on the
    Gramian, ``w_t = (pinv(U U^T) 1)_t / |g_t|``. That is the direction of `IMTLG`. The
    paper's own length of the step, the sum of the gradients' projections on it, gives
    way to weights that sum to the number of tasks, as for every weighting here, so
    that both do the same. Where the weights almost cancel or sum to less than zero,
    no rescaling keeps the direction, and the step has equal weights.

    Parameters
    ----------
    gradient_at : {"representation", "parameters"}, default="representation"
        Where gradients are taken; see `GradientWeighting`.
    update_every : int, default=1
        Recompute the weights every k steps; the steps between use the last ones.

    References
    ----------
    .. [1] Q. Liu et al., "ConFIG: Towards Conflict-Free Training of Physics Informed
       Neural Networks", ICLR 2025.

    Examples
    --------
    >>> from skmtl import MultiTaskClassifier
    >>> from skmtl.weighting import ConFIG
    >>> MultiTaskClassifier(weighting=ConFIG()).weighting
    ConFIG()
    """

    name = "config"

    def build(self, n_tasks: int) -> GradientWeightingModule:
        """Build the solver."""
        return EqualProjections()
