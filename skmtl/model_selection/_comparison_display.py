"""Candidates with their scores and ranks, as a picture."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Self

import numpy as np
from numpy.typing import NDArray

from skmtl._drawing import (
    check_axes,
    choose_candidates_size,
    draw_ranks,
    draw_scores,
    find_place,
    make_axes,
    needs_matplotlib,
)
from skmtl.model_selection._statistics import order_by_rank

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from skmtl.model_selection._comparison import SharingComparison

Array = NDArray[np.float64]


class SharingComparisonDisplay:
    """Mean score of each candidate with its interval, and its mean rank.

    Candidates are in the order of their mean ranks. On the left a filled circle marks
    one that is better than the baseline by the interval of Δm, a filled triangle one
    that is worse, and an open diamond one whose interval holds zero; the baseline is a
    square, and a dashed line its score. On the right a filled circle marks a mean rank
    that is no further from the best than the critical difference, the bar on top.

    Parameters
    ----------
    names : sequence of str
        Names of the candidates.
    baseline : str
        Name of the one that the others are compared with.
    mean_scores : ndarray of shape (n_candidates,)
        Mean scores over tasks and splits.
    mean_scores_interval : ndarray of shape (n_candidates, 2)
        Lower and upper ends of their confidence intervals.
    delta_m_interval : ndarray of shape (n_candidates, 2)
        Those of the mean relative gain against the baseline.
    mean_ranks : ndarray of shape (n_candidates,)
        Mean ranks, 1 is the best.
    critical_difference : float
        The difference of mean ranks from which on two candidates differ; NaN where
        there is none.

    Attributes
    ----------
    order_ : list of int
        Numbers of the candidates as they are shown, from the top.
    marks_ : list of matplotlib.collections.PathCollection
        The marks of the scores, for each kind that occurs.
    intervals_ : list of matplotlib.lines.Line2D
        The intervals, in the order shown.
    rank_marks_ : matplotlib.collections.PathCollection
        The marks of the ranks.
    bar_ : matplotlib.lines.Line2D or None
        The critical difference.
    axes_ : list of matplotlib.axes.Axes
        Axes with the scores and with the ranks.
    figure_ : matplotlib.figure.Figure
        Figure with the axes.

    See Also
    --------
    compare_sharing : Compares the candidates.

    Examples
    --------
    >>> from sklearn.datasets import load_linnerud
    >>> from skmtl import MultiTaskRegressor
    >>> from skmtl.model_selection import SharingComparisonDisplay, compare_sharing
    >>> X, Y = load_linnerud(return_X_y=True, as_frame=True)
    >>> est = MultiTaskRegressor(n_estimators=1, max_iter=5)
    >>> comparison = compare_sharing(est, X, Y, cv=2, random_state=0)
    >>> display = SharingComparisonDisplay.from_comparison(comparison)
    >>> len(display.intervals_)
    2
    """

    def __init__(
        self,
        *,
        names: Sequence[str],
        baseline: str,
        mean_scores: Array,
        mean_scores_interval: Array,
        delta_m_interval: Array,
        mean_ranks: Array,
        critical_difference: float,
    ) -> None:
        self.names = names
        self.baseline = baseline
        self.mean_scores = mean_scores
        self.mean_scores_interval = mean_scores_interval
        self.delta_m_interval = delta_m_interval
        self.mean_ranks = mean_ranks
        self.critical_difference = critical_difference

    @classmethod
    def from_comparison(
        cls, comparison: "SharingComparison", *, ax: "Axes | None" = None
    ) -> Self:
        """Show what `skmtl.model_selection.compare_sharing` has found.

        Parameters
        ----------
        comparison : SharingComparison
            The comparison.
        ax : matplotlib.axes.Axes, default=None
            Where to draw; None makes a figure that fits the number of candidates.

        Returns
        -------
        display : SharingComparisonDisplay
            The display.

        Raises
        ------
        ValueError
            If it is something else.
        """
        caller = f"{cls.__name__}.from_comparison"
        needs_matplotlib(caller)
        if not hasattr(type(comparison), "mean_scores_interval"):
            raise ValueError(
                f"The 'comparison' parameter of {caller} must be what compare_sharing "
                f"returns. Got {comparison!r}."
            )
        display = cls(
            names=comparison.names,
            baseline=comparison.baseline,
            mean_scores=comparison.mean_scores,
            mean_scores_interval=comparison.mean_scores_interval,
            delta_m_interval=comparison.delta_m_interval,
            mean_ranks=comparison.mean_ranks,
            critical_difference=comparison.critical_difference,
        )
        return display.plot(ax)

    def plot(self, ax: "Axes | None" = None) -> Self:
        """Draw the candidates.

        Parameters
        ----------
        ax : matplotlib.axes.Axes, default=None
            Where to draw: two axes take its place. None makes a figure that fits the
            number of candidates.

        Returns
        -------
        display : SharingComparisonDisplay
            The display.
        """
        needs_matplotlib(f"{type(self).__name__}.plot")
        check_axes(ax)
        if ax is None:
            ax = make_axes(*choose_candidates_size(len(self.names)))
        grid = find_place(ax, 1, 2, [1.0], [1.6, 1.0])
        left, right = (ax.figure.add_subplot(cell) for cell in grid)
        order = order_by_rank(self.mean_ranks)
        kinds = self._kinds()
        self.marks_, self.intervals_ = draw_scores(
            left,
            self.mean_scores[order],
            self.mean_scores_interval[order],
            [kinds[i] for i in order],
            [self.names[i] for i in order],
        )
        left.set_xlabel(
            f"mean score over tasks and splits\nbaseline: {self.baseline}",
            parse_math=False,
        )
        self.rank_marks_, self.bar_ = draw_ranks(
            right, self.mean_ranks[order], self.critical_difference
        )
        self.order_ = order
        self.axes_, self.figure_ = [left, right], ax.figure
        return self

    def _kinds(self) -> list[str]:
        """Return how each candidate compares with the baseline."""
        low, high = self.delta_m_interval.T
        kinds = np.where(low > 0, "better", "no clear difference")
        kinds = np.where(high < 0, "worse", kinds)
        kinds = np.where(np.array(self.names) == self.baseline, "baseline", kinds)
        return kinds.tolist()
