"""A heat map of which experts each task reads."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import issparse
from sklearn.base import BaseEstimator

from skmtl._drawing import (
    check_axes,
    choose_usage_size,
    draw_usage,
    make_axes,
    needs_matplotlib,
    shorten_names,
)
from skmtl.inspection._check_estimator import check_fitted

if TYPE_CHECKING:
    from matplotlib.axes import Axes


class GateUsageDisplay:
    """Heat map of how much each task reads of each expert.

    The darker a cell, the more of the task's features come from the expert, as its gate
    weighs them on average over the samples. Each member has experts of its own, which
    stand side by side: the first expert of one has nothing to do with that of another.

    Parameters
    ----------
    usage : ndarray of shape (n_estimators, n_tasks, n_experts)
        Mean weight of each expert in each task, which sum to one over experts.
    task_names : sequence
        Names of the tasks.

    Attributes
    ----------
    image_ : matplotlib.image.AxesImage
        The heat map.
    texts_ : list of matplotlib.text.Text
        Values of the cells; none where there are more than 12 columns.
    colorbar_ : matplotlib.colorbar.Colorbar
        The scale of the greys.
    ax_ : matplotlib.axes.Axes
        Axes with the heat map.
    figure_ : matplotlib.figure.Figure
        Figure with the axes.

    Examples
    --------
    >>> from sklearn.datasets import load_linnerud
    >>> from skmtl import MultiTaskRegressor
    >>> from skmtl.inspection import GateUsageDisplay
    >>> X, Y = load_linnerud(return_X_y=True, as_frame=True)
    >>> est = MultiTaskRegressor("mmoe", n_estimators=2, max_iter=5, random_state=0)
    >>> GateUsageDisplay.from_estimator(est.fit(X, Y), X).usage.shape
    (2, 3, 4)
    """

    def __init__(
        self, *, usage: NDArray[np.float64], task_names: Sequence[Any]
    ) -> None:
        self.usage = usage
        self.task_names = task_names

    @classmethod
    def from_estimator(
        cls,
        estimator: BaseEstimator,
        X: Any,
        *,
        ax: "Axes | None" = None,
        cmap: str = "Greys",
    ) -> Self:
        """Show which experts the tasks of an estimator read.

        Parameters
        ----------
        estimator : estimator
            A fitted multi-task estimator whose sharing has gates, such as "mmoe", or a
            fitted pipeline or search that ends in one.
        X : array-like or sparse matrix of shape (n_samples, n_features) or \
                (n_samples, channels, height, width)
            Inputs over which to average.
        ax : matplotlib.axes.Axes, default=None
            Where to draw; None makes a figure that fits the number of tasks.
        cmap : str, default="Greys"
            Name of the colours, from zero to one.

        Returns
        -------
        display : GateUsageDisplay
            The display.

        Raises
        ------
        ValueError
            If it is no estimator of skmtl, or its sharing has no gates.
        """
        caller = f"{cls.__name__}.from_estimator"
        needs_matplotlib(caller)
        estimator, X = check_fitted(estimator, caller, X)
        X = estimator._check_X(X, estimator.net_.module__encoder, reset=False)
        X = X.toarray() if issparse(X) else X
        module, n_estimators = estimator.module_, estimator.n_estimators_
        members = (
            [module] if n_estimators == 1 else map(module.member, range(n_estimators))
        )
        usage = np.stack([member.gate_usage(X) for member in members])
        return cls(usage=usage, task_names=estimator.task_names_).plot(ax, cmap=cmap)

    def plot(self, ax: "Axes | None" = None, *, cmap: str = "Greys") -> Self:
        """Draw the heat map.

        Parameters
        ----------
        ax : matplotlib.axes.Axes, default=None
            Where to draw; None makes a figure that fits the number of tasks.
        cmap : str, default="Greys"
            Name of the colours, from zero to one.

        Returns
        -------
        display : GateUsageDisplay
            The display.
        """
        needs_matplotlib(f"{type(self).__name__}.plot")
        n_estimators, n_tasks, n_experts = self.usage.shape
        check_axes(ax)
        if ax is None:
            ax = make_axes(*choose_usage_size(n_tasks, n_estimators * n_experts))
        names = shorten_names(self.task_names)
        self.image_, self.texts_ = draw_usage(ax, self.usage, names, cmap)
        ax.set_xlabel(
            "expert" if n_estimators == 1 else f"experts of {n_estimators} members"
        )
        self.colorbar_ = self.image_.colorbar
        self.ax_, self.figure_ = ax, ax.figure
        return self
