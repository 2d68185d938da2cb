"""Shared and own experts, mixed by a gate per task."""

from __future__ import annotations

from skmtl.sharing._ple import PLE


class CGC(PLE):
    r"""Customized gate control: shared and task-specific experts, a gate per task.

    Proposed in [1]_.

    Task t reads :math:`\sum_e g_t(x)_e f_e(x)`, where e runs over the shared experts
    and those of task t, and :math:`g_t(x) = \mathrm{softmax}(W_t x + b_t)`. Own experts
    keep what would harm other tasks out of what they share. It is `PLE` of one level:
    each expert is a whole encoder.

    Parameters
    ----------
    n_shared : int, default=2
        Number of experts that all tasks see. None shared makes tasks independent.
    n_own : int, default=1
        Number of experts that each task has for itself. Without any it is `MMoE`.

    References
    ----------
    .. [1] H. Tang, J. Liu, M. Zhao and X. Gong, "Progressive Layered Extraction (PLE):
       A Novel Multi-Task Learning (MTL) Model for Personalized Recommendations",
       RecSys 2020.

    Examples
    --------
    >>> from skmtl import MultiTaskClassifier
    >>> from skmtl.sharing import CGC
    >>> MultiTaskClassifier(sharing=CGC(n_shared=1)).sharing
    CGC(n_shared=1)
    """

    name = "cgc"
    n_levels = 1

    def __init__(self, n_shared: int = 2, n_own: int = 1) -> None:
        self.n_shared = n_shared
        self.n_own = n_own
