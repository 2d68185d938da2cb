"""Folds that keep the labels of several tasks in proportion."""

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.random import RandomState
from numpy.typing import NDArray
from sklearn.model_selection._split import (
    _BaseKFold,
    _RepeatedSplits,
    _UnsupportedGroupCVMixin,
)
from sklearn.utils import check_random_state

from skmtl._data.stratification import deal_rows
from skmtl.model_selection._labels import (
    N_BINS,
    Stratified,
    find_rows_per_label,
    warn_of_rare,
)
from skmtl.model_selection._swap_search import improve_by_swaps


class StratifiedFolds(Stratified, _BaseKFold):
    """Parameters and random order of splitters into folds."""

    def __init__(
        self,
        n_splits: int = 5,
        *,
        shuffle: bool = False,
        random_state: int | RandomState | None = None,
        order: int = 1,
        n_bins: int = N_BINS,
        missing_label: Any = np.nan,
        task_types: Any = None,
    ) -> None:
        super().__init__(n_splits, shuffle=shuffle, random_state=random_state)
        self._set_labels(order, n_bins, missing_label, task_types)

    def _draw_order(self, n: int) -> tuple[RandomState, NDArray[np.int64]]:
        """Return the random state, and the order of rows or groups."""
        if self.shuffle:
            rng = check_random_state(self.random_state)
            return rng, rng.permutation(n)
        return RandomState(0), np.arange(n)


class MultiTaskStratifiedKFold(_UnsupportedGroupCVMixin, StratifiedFolds):
    r"""K folds that keep the labels of all tasks in proportion.

    What `sklearn.model_selection.StratifiedKFold` is to one target. Rows that carry the
    rarest label are dealt first, each to the fold that lacks it most, as in iterative
    stratification [1]_. After that rows of two folds trade places as long as this
    lowers the distance

    .. math:: \sum_f \sum_l \frac{(c_{fl} - n_l / k)^2}{n_l / k}

    of the number :math:`c_{fl}` of each label in each of k folds from its k-th part of
    :math:`n_l`; that step is ours.

    A label is a class of a task, a part of the range of a numeric task, or that the
    label of a task is missing. A class that at least ``n_splits`` rows carry is thus
    found in all folds as a rule; of one with fewer rows a warning tells.

    Parameters
    ----------
    n_splits : int, default=5
        Number of folds, at least 2. Their sizes differ by one at most.
    shuffle : bool, default=False
        Whether to deal rows in random order. If False, the folds are always the same,
        and rows that stand next to each other tend to lie in the same fold.
    random_state : int, RandomState instance or None, default=None
        Source of the order when ``shuffle=True``. Pass an int for the same folds in
        each call.
    order : {1, 2}, default=1
        Whether to keep pairs of labels of two tasks in proportion too [2]_. Pairs with
        the most common label of a task are left out; memory grows with the number of
        rows and the square of the tasks.
    n_bins : int, default=10
        Number of parts of equal size into which numeric labels are cut; fewer where a
        part would have fewer labels than there are folds.
    missing_label : object, default=nan
        A value that marks a missing label, beside None, NaN, NaT, pandas' NA and masked
        entries, which always do.
    task_types : str, dict, sequence or None, default=None
        "classification" or "regression" for all tasks, in a dict by their names or in a
        sequence with one for each. None: as their labels show, by the rule of
        `skmtl.MultiTaskEstimator`.

    References
    ----------
    .. [1] K. Sechidis, G. Tsoumakas and I. Vlahavas, "On the Stratification of
       Multi-Label Data", ECML PKDD 2011.
    .. [2] P. Szymański and T. Kajdanowicz, "A Network Perspective on Stratification of
       Multi-Label Data", LIDTA at ECML PKDD 2017.

    Examples
    --------
    >>> import numpy as np
    >>> from skmtl.model_selection import MultiTaskStratifiedKFold
    >>> X = np.zeros((6, 1))
    >>> y = np.array([[0, 1], [0, 0], [1, 0], [1, 1], [0, 0], [0, np.nan]])
    >>> for train, test in MultiTaskStratifiedKFold(2).split(X, y):
    ...     print(test, y[test].tolist())
    [0 2 5] [[0.0, 1.0], [1.0, 0.0], [0.0, nan]]
    [1 3 4] [[0.0, 0.0], [1.0, 1.0], [0.0, 0.0]]
    """

    def _iter_test_masks(
        self, X: Any = None, y: Any = None, groups: Any = None
    ) -> Iterator[NDArray[np.bool_]]:
        """Yield the test rows of each fold as masks."""
        labels = self._labels(y, self.n_splits)
        warn_of_rare(labels, labels.table, self.n_splits, "folds rows")
        n, k = labels.table.shape[0], self.n_splits
        rng, order = self._draw_order(n)
        table, shares = labels.table[order], np.full(k, 1 / k)
        sizes = n // k + (np.arange(k) < n % k)
        fold = np.empty(n, dtype=np.int64)
        dealt_fold = deal_rows(
            find_rows_per_label(table), sizes, shares, in_blocks=not self.shuffle
        )
        fold[order] = improve_by_swaps(table, dealt_fold, shares, rng)
        for number in range(k):
            yield fold == number


class RepeatedMultiTaskStratifiedKFold(_RepeatedSplits):
    """K folds that keep the labels of all tasks in proportion, several times anew.

    Parameters
    ----------
    n_splits : int, default=5
        Number of folds, at least 2.
    n_repeats : int, default=10
        Number of times that rows are dealt to folds.
    random_state : int, RandomState instance or None, default=None
        Source of the orders in which rows are dealt. Pass an int for the same folds in
        each call.
    order : {1, 2}, default=1
        Whether to keep pairs of labels of two tasks in proportion too.
    n_bins : int, default=10
        Number of parts of equal size into which numeric labels are cut.
    missing_label : object, default=nan
        A value that marks a missing label.
    task_types : str, dict, sequence or None, default=None
        Kinds of the tasks, all as in `skmtl.model_selection.MultiTaskStratifiedKFold`.

    Examples
    --------
    >>> import numpy as np
    >>> from skmtl.model_selection import RepeatedMultiTaskStratifiedKFold
    >>> X, y = np.zeros((8, 1)), np.array([[0, 1], [0, 0], [1, 0], [1, 1]] * 2)
    >>> cv = RepeatedMultiTaskStratifiedKFold(n_splits=2, n_repeats=2, random_state=0)
    >>> [y[test].sum(axis=0).tolist() for train, test in cv.split(X, y)]
    [[2, 2], [2, 2], [2, 2], [2, 2]]
    """

    def __init__(
        self,
        *,
        n_splits: int = 5,
        n_repeats: int = 10,
        random_state: int | RandomState | None = None,
        order: int = 1,
        n_bins: int = N_BINS,
        missing_label: Any = np.nan,
        task_types: Any = None,
    ) -> None:
        settings = {
            "n_splits": n_splits,
            "order": order,
            "n_bins": n_bins,
            "missing_label": missing_label,
            "task_types": task_types,
        }
        MultiTaskStratifiedKFold(**settings)  # checks them
        super().__init__(
            MultiTaskStratifiedKFold,
            n_repeats=n_repeats,
            random_state=random_state,
            **settings,
        )
