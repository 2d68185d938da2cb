"""Folds that keep groups whole and the labels of several tasks in proportion."""

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.random import RandomState
from numpy.typing import NDArray
from scipy.sparse import csr_array, vstack
from sklearn.model_selection._split import GroupsConsumerMixin
from sklearn.utils import check_array

from skmtl.model_selection._k_fold import StratifiedFolds
from skmtl.model_selection._labels import sum_by_group, warn_of_rare
from skmtl.model_selection._swap_search import improve_by_swaps, scale_counts


class MultiTaskStratifiedGroupKFold(GroupsConsumerMixin, StratifiedFolds):
    """K folds that keep groups whole and the labels of all tasks in proportion.

    What `sklearn.model_selection.StratifiedGroupKFold` is to one target: rows of a
    group, such as those of a patient, lie in one fold. Groups are dealt from the
    largest to the smallest, each to the fold whose labels are least like its own, and
    then move or trade places, as rows do in
    `skmtl.model_selection.MultiTaskStratifiedKFold`. The number of rows of a fold
    counts as a label, so that sizes are about equal where groups allow.

    Parameters
    ----------
    n_splits : int, default=5
        Number of folds, at least 2 and at most one per group.
    shuffle : bool, default=False
        Whether to take groups of equal labels in random order. If False, the folds are
        always the same.
    random_state : int, RandomState instance or None, default=None
        Source of the order when ``shuffle=True``. Pass an int for the same folds in
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
    >>> from skmtl.model_selection import MultiTaskStratifiedGroupKFold
    >>> y = np.array([[0, 1], [0, 0], [1, 0], [1, 0], [0, 0], [0, 1], [1, 0], [0, 1]])
    >>> patients = np.array(["a", "a", "b", "b", "c", "c", "d", "d"])
    >>> cv = MultiTaskStratifiedGroupKFold(2)
    >>> for train, test in cv.split(np.zeros((8, 1)), y, groups=patients):
    ...     print(np.unique(patients[test]), y[test].sum(axis=0))
    ['b' 'c'] [2 1]
    ['a' 'd'] [1 2]
    """

    def _iter_test_masks(
        self, X: Any = None, y: Any = None, groups: Any = None
    ) -> Iterator[NDArray[np.bool_]]:
        """Yield the test rows of each fold as masks."""
        if groups is None:
            raise ValueError(
                "The 'groups' parameter must not be None: give each row's group."
            )
        groups = check_array(groups, input_name="groups", ensure_2d=False, dtype=None)
        names, group = np.unique(groups, return_inverse=True)
        if len(names) < self.n_splits:
            raise ValueError(
                f"Cannot have number of splits n_splits={self.n_splits} greater than "
                f"the number of groups: {len(names)}."
            )
        labels = self._labels(y, self.n_splits)
        table = sum_by_group(labels.table, group)
        warn_of_rare(labels, table, self.n_splits, "folds groups")
        rng, order = self._draw_order(len(names))
        fold = np.empty(len(names), dtype=np.int64)
        fold[order] = assign_groups(table[order], self.n_splits, rng)
        for number in range(self.n_splits):
            yield fold[group] == number


def assign_groups(
    table: csr_array, n_folds: int, random_state: RandomState
) -> NDArray[np.int64]:
    """Return the fold of each group, by the counts of its labels."""
    n_groups = table.shape[0]
    R = scale_counts(table)
    fold = np.empty(n_groups, dtype=np.int64)
    fold_weight = np.zeros((n_folds, R.shape[1]))
    size = R.multiply(R).sum(axis=1)
    for group in np.argsort(-size, kind="stable"):
        entries = slice(R.indptr[group], R.indptr[group + 1])
        labels, weight = R.indices[entries], R.data[entries]
        fold[group] = (fold_weight[:, labels] @ weight).argmin()
        fold_weight[fold[group], labels] += weight
    # A group moves by trading places with one of no rows.
    table = vstack([table, csr_array(table.shape)], format="csr")
    part = np.append(fold, np.arange(n_groups) % n_folds)
    shares = np.full(n_folds, 1 / n_folds)
    return improve_by_swaps(table, part, shares, random_state)[:n_groups]
