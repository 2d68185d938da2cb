"""A heat map of which model serves which task."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from numpy.typing import NDArray
from sklearn.base import BaseEstimator

from skmtl._drawing import (
    check_axes,
    choose_usage_size,
    draw_model_weights,
    make_axes,
    needs_matplotlib,
    shorten_names,
)
from skmtl.ensemble._base import MultiTaskStacking
from skmtl.metrics._unwrap import unwrap_estimator

if TYPE_CHECKING:
    from matplotlib.axes import Axes


class StackingWeightDisplay:
    """Heat map of the weights of stacked models in the prediction of each task.

    Rows are tasks, columns are models, and the weights of a row sum to one: the darker
    a cell, the more the model counts for the task.

    Parameters
    ----------
    weights : ndarray of shape (n_tasks, n_models)
        Weight of each model in each task.
    task_names : sequence
        Names of the tasks.
    model_names : sequence of str
        Names of the models.

    Attributes
    ----------
    image_ : matplotlib.image.AxesImage
        The heat map.
    texts_ : list of matplotlib.text.Text
        Values of the cells; none where there are more than 12 models.
    colorbar_ : matplotlib.colorbar.Colorbar
        The scale of the greys.
    ax_ : matplotlib.axes.Axes
        Axes with the heat map.
    figure_ : matplotlib.figure.Figure
        Figure with the axes.

    See Also
    --------
    MultiTaskStackingClassifier : Has the weights as a DataFrame, ``weights_``.

    Examples
    --------
    >>> from sklearn.datasets import load_linnerud
    >>> from skmtl.ensemble import MultiTaskStackingRegressor, StackingWeightDisplay
    >>> X, Y = load_linnerud(return_X_y=True, as_frame=True)
    >>> est = MultiTaskStackingRegressor(["linear", "extra_trees"], random_state=0)
    >>> display = StackingWeightDisplay.from_estimator(est.fit(X, Y))
    >>> [label.get_text() for label in display.ax_.get_yticklabels()]
    ['Weight', 'Waist', 'Pulse']
    """

    def __init__(
        self,
        *,
        weights: NDArray[np.float64],
        task_names: Sequence[Any],
        model_names: Sequence[str],
    ) -> None:
        self.weights = weights
        self.task_names = task_names
        self.model_names = model_names

    @classmethod
    def from_estimator(
        cls,
        estimator: BaseEstimator,
        *,
        ax: "Axes | None" = None,
        cmap: str = "Greys",
    ) -> Self:
        """Show the weights of a fitted stacking estimator.

        Parameters
        ----------
        estimator : estimator
            A fitted `MultiTaskStackingClassifier`, `MultiTaskStackingRegressor` or
            `MultiTaskStackingEstimator` with ``final="average"``, or a fitted pipeline
            or search that ends in one.
        ax : matplotlib.axes.Axes, default=None
            Where to draw; None makes a figure that fits the number of tasks.
        cmap : str, default="Greys"
            Name of the colours, from zero to one.

        Returns
        -------
        display : StackingWeightDisplay
            The display.

        Raises
        ------
        ValueError
            If it is no stacking estimator.
        AttributeError
            If it has no weights, because of ``final="linear"``.
        """
        caller = f"{cls.__name__}.from_estimator"
        needs_matplotlib(caller)
        last = unwrap_estimator(estimator)
        if not isinstance(last, MultiTaskStacking):
            raise ValueError(
                f"The 'estimator' parameter of {caller} must be a stacking estimator "
                f"of skmtl.ensemble. Got {estimator!r}."
            )
        display = cls(
            weights=last.weights_.to_numpy(),
            task_names=last.task_names_,
            model_names=list(last.named_estimators_),
        )
        return display.plot(ax, cmap=cmap)

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
        display : StackingWeightDisplay
            The display.
        """
        needs_matplotlib(f"{type(self).__name__}.plot")
        check_axes(ax)
        if ax is None:
            ax = make_axes(*choose_usage_size(*self.weights.shape))
        tasks, models = map(shorten_names, (self.task_names, self.model_names))
        self.image_, self.texts_ = draw_model_weights(
            ax, self.weights, tasks, models, cmap
        )
        self.colorbar_ = self.image_.colorbar
        self.ax_, self.figure_ = ax, ax.figure
        return self
