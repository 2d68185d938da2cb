"""Whether the probabilities of each task come true, as a picture."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.base import BaseEstimator
from sklearn.calibration import calibration_curve

from skmtl._core.validation import resolve_task
from skmtl._data.labels import LabelTable, read_labels
from skmtl._drawing import (
    check_axes,
    choose_reliability_size,
    draw_reliability,
    make_axes,
    needs_matplotlib,
)
from skmtl.metrics._one_task import resolve_classes
from skmtl.metrics._predictions import read_predictions, select_labelled
from skmtl.metrics._responses import get_estimator_classes, read_task_labels
from skmtl.metrics._task_scores import read_classes

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Array = NDArray[np.float64]


class ReliabilityDisplay:
    """Reliability of each task's probabilities, in a picture per task.

    The rows are put into bins by their probability, and the mean of each bin is drawn
    against how often it came true [1]_: points below the dotted line are predicted with
    too much confidence in the positive class. Bars tell which share of the rows has
    such a probability. A task of two classes is shown by the probability of the larger
    one; a task of more by that of the class that is predicted, and how often it is
    right.

    Parameters
    ----------
    prob_true : list of ndarray of shape (n_filled_bins,)
        How often the prediction of each bin came true, task by task.
    prob_pred : list of ndarray of shape (n_filled_bins,)
        Mean predicted probability of each bin.
    y_prob : list of ndarray of shape (n_labelled,)
        The predicted probabilities of the rows that have a label.
    task_names : sequence
        Names of the tasks.

    Attributes
    ----------
    axes_ : list of matplotlib.axes.Axes
        The picture of each task.
    lines_ : list of matplotlib.lines.Line2D
        The curve of each task.
    ax_ : matplotlib.axes.Axes
        The axes whose place the pictures take.
    figure_ : matplotlib.figure.Figure
        Figure with the pictures.

    See Also
    --------
    sklearn.calibration.CalibrationDisplay : The same for one task of two classes.

    References
    ----------
    .. [1] M. H. DeGroot and S. E. Fienberg, "The Comparison and Evaluation of
       Forecasters", The Statistician 1983.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn.datasets import load_iris
    >>> from sklearn.ensemble import RandomForestClassifier
    >>> from skmtl.metrics import ReliabilityDisplay
    >>> X, species = load_iris(return_X_y=True)
    >>> Y = np.column_stack([species, X[:, 0] > 5.8])
    >>> forest = RandomForestClassifier(n_estimators=10, random_state=0).fit(X, Y)
    >>> display = ReliabilityDisplay.from_estimator(forest, X, Y)
    >>> [ax.get_title("left") for ax in display.axes_]
    ['task0', 'task1']
    """

    def __init__(
        self,
        *,
        prob_true: Sequence[Array],
        prob_pred: Sequence[Array],
        y_prob: Sequence[Array],
        task_names: Sequence[Any],
    ) -> None:
        self.prob_true = prob_true
        self.prob_pred = prob_pred
        self.y_prob = y_prob
        self.task_names = task_names

    @classmethod
    def from_estimator(
        cls,
        estimator: BaseEstimator,
        X: Any,
        y: ArrayLike,
        *,
        n_bins: int = 5,
        strategy: str = "uniform",
        tasks: Sequence[Any] | None = None,
        missing_label: object = None,
        ax: "Axes | None" = None,
    ) -> Self:
        """Show how reliable the probabilities of an estimator are.

        Parameters
        ----------
        estimator : estimator
            A fitted estimator with ``predict_proba``, as in `make_multitask_scorer`.
        X : array-like or sparse matrix of shape (n_samples, ...)
            Inputs that it has not seen.
        y : array-like of shape (n_samples,) or (n_samples, n_tasks)
            Their labels; missing ones count for nothing.
        n_bins : int, default=5
            Number of bins.
        strategy : {"uniform", "quantile"}, default="uniform"
            Whether bins are of the same width or hold as many rows each.
        tasks : list, default=None
            Names or numbers of the tasks to show; None shows all that have classes.
        missing_label : object, default=None
            What marks a missing label, as in `make_multitask_scorer`.
        ax : matplotlib.axes.Axes, default=None
            Whose place to take; None makes a figure that fits the number of tasks.

        Returns
        -------
        display : ReliabilityDisplay
            The display.

        Raises
        ------
        ValueError
            If the estimator has no probabilities.
        """
        caller = f"{cls.__name__}.from_estimator"
        needs_matplotlib(caller)
        if not hasattr(estimator, "predict_proba"):
            raise ValueError(
                f"{caller} needs an estimator with predict_proba, which "
                f"{type(estimator).__name__} does not have."
            )
        columns = read_task_labels(estimator, y, missing_label)
        classes = get_estimator_classes(estimator, len(columns.columns))
        proba = estimator.predict_proba(X)
        return cls._make(columns, proba, classes, n_bins, strategy).plot(
            ax, tasks=tasks
        )

    @classmethod
    def from_predictions(
        cls,
        y_true: ArrayLike,
        y_prob: Any,
        *,
        classes: object = None,
        n_bins: int = 5,
        strategy: str = "uniform",
        tasks: Sequence[Any] | None = None,
        missing_label: object = np.nan,
        ax: "Axes | None" = None,
    ) -> Self:
        """Show how reliable given probabilities are.

        Parameters
        ----------
        y_true : array-like of shape (n_samples,) or (n_samples, n_tasks)
            True labels; missing ones count for nothing.
        y_prob : array-like or list
            Probabilities in a form that `task_scores` takes.
        classes : list of array-like or array-like, default=None
            Classes of each task in the order of the columns, as in `task_scores`.
        n_bins : int, default=5
            Number of bins.
        strategy : {"uniform", "quantile"}, default="uniform"
            Whether bins are of the same width or hold as many rows each.
        tasks : list, default=None
            Names or numbers of the tasks to show; None shows all that have classes.
        missing_label : object, default=nan
            What marks a missing label, as in `task_scores`.
        ax : matplotlib.axes.Axes, default=None
            Whose place to take; None makes a figure that fits the number of tasks.

        Returns
        -------
        display : ReliabilityDisplay
            The display.

        Raises
        ------
        ValueError
            If it is open which classes the probabilities are of.
        """
        needs_matplotlib(f"{cls.__name__}.from_predictions")
        columns = read_labels(y_true, missing_label)
        of_tasks = read_classes(classes, len(columns.columns))
        display = cls._make(columns, y_prob, of_tasks, n_bins, strategy)
        return display.plot(ax, tasks=tasks)

    @classmethod
    def _make(
        cls,
        columns: LabelTable,
        proba: Any,
        classes: Sequence[NDArray[Any] | None],
        n_bins: int,
        strategy: str,
    ) -> Self:
        """Return the display of labels and probabilities, without drawing it."""
        entries = zip(
            *(read_predictions(proba, columns), columns.columns, classes),
            columns.task_names,
            strict=True,
        )
        curves = []
        for prediction, column, task_classes, name in entries:
            if prediction is not None:  # as it is for regression
                p = select_labelled(prediction, column, name)
                came_true, p = _find_events(column.values, p, task_classes, name)
                curves.append(
                    (*_compute_curve(came_true, p, n_bins, strategy), p, name)
                )
        if not curves:
            raise ValueError(
                f"{cls.__name__} needs probabilities of at least one classification "
                f"task. Got none for the tasks {columns.task_names}."
            )
        true, pred, prob, names = (list(values) for values in zip(*curves, strict=True))
        return cls(prob_true=true, prob_pred=pred, y_prob=prob, task_names=names)

    def plot(
        self, ax: "Axes | None" = None, *, tasks: Sequence[Any] | None = None
    ) -> Self:
        """Draw a picture per task.

        Parameters
        ----------
        ax : matplotlib.axes.Axes, default=None
            Whose place to take; None makes a figure that fits the number of tasks.
        tasks : list, default=None
            Names or numbers of the tasks to show; None shows all.

        Returns
        -------
        display : ReliabilityDisplay
            The display.

        Raises
        ------
        ValueError
            If there is no task of such a name.
        """
        caller = f"{type(self).__name__}.plot"
        needs_matplotlib(caller)
        shown = list(range(len(self.task_names)))
        if tasks is not None:
            where = f"The 'tasks' parameter of {caller}"
            shown = [resolve_task(task, self.task_names, where) for task in tasks]
        check_axes(ax)
        if ax is None:
            ax = make_axes(*choose_reliability_size(len(shown)))
        self.axes_, self.lines_ = draw_reliability(
            ax,
            [self.prob_pred[t] for t in shown],
            [self.prob_true[t] for t in shown],
            [self.y_prob[t] for t in shown],
            [self.task_names[t] for t in shown],
        )
        self.ax_, self.figure_ = ax, ax.figure
        return self


def _compute_curve(
    came_true: NDArray[np.bool_], p: Array, n_bins: int, strategy: str
) -> tuple[Array, Array]:
    """Return how often each bin came true, and its mean probability."""
    if not len(p):
        return np.empty(0), np.empty(0)
    curve: tuple[Array, Array] = calibration_curve(
        came_true, p, pos_label=True, n_bins=n_bins, strategy=strategy
    )
    return curve


def _find_events(
    true: NDArray[Any], proba: NDArray[Any], classes: NDArray[Any] | None, name: object
) -> tuple[NDArray[np.bool_], Array]:
    """Return what has come true, and how probable it was said to be."""
    column_classes = resolve_classes(true, proba, classes, name)
    if len(column_classes) == 2:
        larger = np.argsort(column_classes)[1]
        p = proba if proba.ndim == 1 else proba[:, larger]
        return true == column_classes[larger], p
    return true == column_classes[proba.argmax(axis=1)], proba.max(axis=1)
