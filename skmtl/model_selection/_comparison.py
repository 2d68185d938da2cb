"""What candidates score on the same splits, and what that says of them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from skmtl._core.numerics import mean_of_known
from skmtl._core.validation import import_pandas
from skmtl._drawing import shorten_names
from skmtl._drawing.html import join_markup, make_paragraph, make_table
from skmtl.metrics._delta_m import compute_relative_gains
from skmtl.model_selection._statistics import (
    compute_corrected_interval,
    critical_difference,
    mean_ranks,
    order_by_rank,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from skmtl.model_selection._comparison_display import SharingComparisonDisplay

Array = NDArray[np.float64]


@dataclass(frozen=True, repr=False)
class SharingComparison:
    """What candidates score, by `skmtl.model_selection.compare_sharing`.

    Intervals are those of `skmtl.inspection.sharing_gain`: splits share training rows,
    so that the spread over splits alone would make them too narrow [1]_.

    Parameters
    ----------
    names : list of str
        Names of the candidates.
    task_names : list
        Names of the tasks.
    baseline : str
        Name of the candidate that the others are compared with.
    scores : ndarray of shape (n_candidates, n_splits, n_tasks)
        Test scores, greater is better; NaN where a split does not define the score of
        a task, and where a fit failed.
    fit_seconds : ndarray of shape (n_candidates, n_splits)
        Times of the fits; NaN where one failed.
    predict_seconds : ndarray of shape (n_candidates, n_splits)
        Times to predict the test rows.
    n_parameters : ndarray of shape (n_candidates,)
        Numbers of trained parameters, of all members together; NaN for estimators that
        are none of skmtl.
    test_ratio : float
        Mean number of test rows by that of training rows.
    confidence : float
        Level of the intervals, and of the critical difference.

    Attributes
    ----------
    mean_scores : ndarray of shape (n_candidates,)
        Mean scores over tasks and splits.
    mean_scores_interval : ndarray of shape (n_candidates, 2)
        Their confidence intervals.
    task_gains : ndarray of shape (n_candidates, n_tasks)
        Mean difference of each task's score to that of the baseline, as a share of the
        baseline's.
    task_gains_interval : ndarray of shape (n_candidates, n_tasks, 2)
        Their confidence intervals.
    delta_m : ndarray of shape (n_candidates,)
        Mean over tasks of these [2]_.
    delta_m_interval : ndarray of shape (n_candidates, 2)
        Their confidence intervals.
    mean_ranks : ndarray of shape (n_candidates,)
        Mean ranks over tasks and splits, 1 is the best.
    critical_difference : float
        The difference of mean ranks from which on two candidates differ, by Nemenyi's
        test [3]_.

    References
    ----------
    .. [1] C. Nadeau and Y. Bengio, "Inference for the Generalization Error", Machine
       Learning 2003.
    .. [2] K.-K. Maninis, I. Radosavovic and I. Kokkinos, "Attentive Single-Tasking of
       Multiple Tasks", CVPR 2019.
    .. [3] J. Demšar, "Statistical Comparisons of Classifiers over Multiple Data Sets",
       Journal of Machine Learning Research 2006.
    """

    names: list[str]
    task_names: list[Any]
    baseline: str
    scores: Array
    fit_seconds: Array
    predict_seconds: Array
    n_parameters: Array
    test_ratio: float
    confidence: float

    @property
    def mean_scores(self) -> Array:
        """Mean scores over tasks and splits."""
        return mean_of_known(self._over_tasks(self.scores), axis=1)

    @property
    def mean_scores_interval(self) -> Array:
        """Confidence intervals of the mean scores."""
        return self._interval(self._over_tasks(self.scores))

    @property
    def task_gains(self) -> Array:
        """Mean relative difference of each task's score to the baseline's."""
        return mean_of_known(self._relative_gains(), axis=1)

    @property
    def task_gains_interval(self) -> Array:
        """Confidence intervals of the relative differences."""
        return self._task_intervals(self._relative_gains())

    @property
    def delta_m(self) -> Array:
        """Mean over tasks of the relative differences."""
        return mean_of_known(self._over_tasks(self._relative_gains()), axis=1)

    @property
    def delta_m_interval(self) -> Array:
        """Confidence intervals of their means."""
        return self._interval(self._over_tasks(self._relative_gains()))

    @property
    def mean_ranks(self) -> Array:
        """Mean ranks over tasks and splits."""
        return mean_ranks(self.scores)[1]

    @property
    def critical_difference(self) -> float:
        """The difference of mean ranks from which on two candidates differ."""
        return critical_difference(self.scores, self.test_ratio, self.confidence)

    def to_frame(self) -> Any:
        """Return the table of candidates and tasks.

        Returns
        -------
        pandas.DataFrame
            One row per candidate and task, and for each candidate one named "mean" (or
            "mean of tasks" where a task is called so), with the columns

            - "score", "score_low", "score_high": mean over splits and its interval;
            - "delta_m", "delta_m_low", "delta_m_high": difference to the baseline as a
              share of its score, and its interval;
            - "rank": mean rank;
            - "fit_seconds", "predict_seconds": medians over splits;
            - "n_parameters": number of trained parameters.
        """
        pd = import_pandas("to_frame")
        mean = "mean of tasks" if "mean" in self.task_names else "mean"
        rows = [[*self.task_names, mean]] * len(self.names)
        index = pd.MultiIndex.from_tuples(
            [(n, t) for n, tasks in zip(self.names, rows, strict=True) for t in tasks],
            names=["candidate", "task"],
        )
        columns = {key: values.ravel() for key, values in self._columns().items()}
        return pd.DataFrame(columns, index=index)

    def plot(self, ax: Axes | None = None) -> SharingComparisonDisplay:
        """Draw the candidates with their intervals and ranks.

        Parameters
        ----------
        ax : matplotlib.axes.Axes, default=None
            Where to draw; None makes a figure that fits the number of candidates.

        Returns
        -------
        display : SharingComparisonDisplay
            The display.
        """
        from skmtl.model_selection._comparison_display import SharingComparisonDisplay

        return SharingComparisonDisplay.from_comparison(self, ax=ax)

    def __repr__(self) -> str:
        return format_text(self)

    def _repr_html_(self) -> str:
        """Return the tables as notebooks show them."""
        return format_html(self)

    def _columns(self) -> dict[str, Array]:
        """Return the columns of the table, of shape (n_candidates, n_tasks + 1)."""
        task_ranks, ranks = mean_ranks(self.scores)
        score = mean_of_known(self.scores, axis=1)
        bounds = self._task_intervals(self.scores)
        low, high = np.moveaxis(bounds, -1, 0)
        gain_low, gain_high = np.moveaxis(self.task_gains_interval, -1, 0)
        mean_low, mean_high = self.mean_scores_interval.T
        delta_low, delta_high = self.delta_m_interval.T
        pairs = {
            "score": (score, self.mean_scores),
            "score_low": (low, mean_low),
            "score_high": (high, mean_high),
            "delta_m": (self.task_gains, self.delta_m),
            "delta_m_low": (gain_low, delta_low),
            "delta_m_high": (gain_high, delta_high),
            "rank": (task_ranks, ranks),
        }
        columns = {key: np.column_stack(pair) for key, pair in pairs.items()}
        shape = columns["score"].shape
        for key in ("fit_seconds", "predict_seconds"):
            seconds = compute_median(getattr(self, key))
            columns[key] = np.broadcast_to(seconds[:, None], shape)
        columns["n_parameters"] = np.broadcast_to(self.n_parameters[:, None], shape)
        return columns

    def _relative_gains(self) -> Array:
        """Return gains by the baseline's mean score, shaped as the scores."""
        baseline = self.scores[self.names.index(self.baseline)]  # (n_splits, n_tasks)
        return np.stack(
            [compute_relative_gains(s, baseline, True) for s in self.scores]
        )

    def _over_tasks(self, values: Array) -> Array:
        """Return means over tasks, of shape (n_candidates, n_splits)."""
        return mean_of_known(values, axis=2)

    def _interval(self, values: Array) -> Array:
        """Return the intervals of values of shape (n_candidates, n_splits)."""
        return compute_corrected_interval(values.T, self.test_ratio, self.confidence)

    def _task_intervals(self, values: Array) -> Array:
        """Return the intervals of values of shape (n_candidates, n_splits, n_tasks)."""
        k, _, n_tasks = values.shape
        flat = np.moveaxis(values, 1, 0).reshape(values.shape[1], -1)
        ends = compute_corrected_interval(flat, self.test_ratio, self.confidence)
        return ends.reshape(k, n_tasks, 2)


def compute_median(seconds: Array) -> Array:
    """Return the median over splits of each candidate, NaN if it has no value."""
    # Not the mean, for the first fit of a process takes longer than others.
    rows = [row[~np.isnan(row)] for row in seconds]
    return np.array([np.median(row) if len(row) else np.nan for row in rows])


def format_text(comparison: SharingComparison) -> str:
    """Return a line of scores, gains and ranks per candidate."""
    header = ("", "score", "delta_m", "rank")
    names, order = shorten_names(comparison.names), order_by_rank(comparison.mean_ranks)
    rows = [
        header,
        *((names[i], *_format_cells(comparison, i)) for i in order),
    ]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = [
        "  ".join(
            [row[0].ljust(widths[0]), *map(str.rjust, row[1:], widths[1:])]
        ).rstrip()
        for row in rows
    ]
    return "\n".join(
        [_format_title(comparison), *lines, *_format_difference(comparison)]
    )


def format_html(comparison: SharingComparison) -> str:
    """Return a table of the candidates, and one of the scores of each task."""
    c, columns = comparison, comparison._columns()
    order = order_by_rank(c.mean_ranks)
    header = ["", "score", "Δm", "mean rank", "fit s", "predict s", "parameters"]
    sizes = [None if np.isnan(n) else round(n) for n in c.n_parameters]
    seconds = np.stack([columns["fit_seconds"][:, 0], columns["predict_seconds"][:, 0]])
    rows = [[c.names[i], *_format_cells(c, i), *seconds[:, i], sizes[i]] for i in order]
    scores = columns["score"]
    tasks = [
        [name, *(scores[i, t] for i in order)] for t, name in enumerate(c.task_names)
    ]
    return str(
        join_markup(
            make_table(_format_title(c), header, rows),
            *map(make_paragraph, _format_difference(c)),
            make_table("Score of each task", ["", *(c.names[i] for i in order)], tasks),
        )
    )


def _format_title(c: SharingComparison) -> str:
    """Return the line above the table."""
    _, n_splits, n_tasks = c.scores.shape
    return (
        f"SharingComparison of {len(c.names)} candidates with {c.baseline!r}: "
        f"{n_tasks} tasks, {n_splits} splits, {100 * c.confidence:g} % intervals"
    )


def _format_difference(c: SharingComparison) -> list[str]:
    """Return the line on the critical difference, if there is one."""
    difference = c.critical_difference
    if np.isnan(difference):
        return []
    return [f"Mean ranks that differ by less than {difference:.2f} say nothing."]


def _format_cells(c: SharingComparison, i: int) -> tuple[str, str, str]:
    """Return score, gain and rank of a candidate in words."""
    score, (low, high) = c.mean_scores[i], c.mean_scores_interval[i]
    gain, (gain_low, gain_high) = c.delta_m[i], c.delta_m_interval[i]
    gain_text = f"{gain:+.1%} [{gain_low:+.1%}, {gain_high:+.1%}]"
    return (
        f"{score:.4f} [{low:.4f}, {high:.4f}]",
        "baseline" if c.names[i] == c.baseline else gain_text,
        f"{c.mean_ranks[i]:.2f}",
    )
