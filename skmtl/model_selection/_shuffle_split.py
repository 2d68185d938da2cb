"""Random splits in two that keep the labels of several tasks in proportion."""

from collections.abc import Iterator
from itertools import chain
from typing import Any

import numpy as np
from numpy.random import RandomState
from numpy.typing import NDArray
from sklearn.model_selection import BaseShuffleSplit
from sklearn.model_selection._split import (
    _UnsupportedGroupCVMixin,
    _validate_shuffle_split,
)
from sklearn.utils import _safe_indexing, check_random_state, indexable
from sklearn.utils.validation import _num_samples

from skmtl._data.stratification import deal_rows
from skmtl.model_selection._labels import (
    N_BINS,
    Stratified,
    find_rows_per_label,
    warn_of_rare,
)
from skmtl.model_selection._swap_search import improve_by_swaps


class MultiTaskStratifiedShuffleSplit(
    Stratified, _UnsupportedGroupCVMixin, BaseShuffleSplit
):
    """Random training and test rows that keep the labels of all tasks in proportion.

    What `sklearn.model_selection.StratifiedShuffleSplit` is to one target; how rows are
    dealt is told in `skmtl.model_selection.MultiTaskStratifiedKFold`.

    Parameters
    ----------
    n_splits : int, default=10
        Number of splits, each drawn anew.
    test_size : float, int or None, default=None
        Share or number of test rows. None: what ``train_size`` leaves, or 0.1.
    train_size : float, int or None, default=None
        Share or number of training rows. None: what ``test_size`` leaves.
    random_state : int, RandomState instance or None, default=None
        Source of the draws. Pass an int for the same splits in each call.
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
    >>> from skmtl.model_selection import MultiTaskStratifiedShuffleSplit
    >>> X, y = np.zeros((9, 1)), np.array([[i % 3, i // 3] for i in range(9)])
    >>> cv = MultiTaskStratifiedShuffleSplit(2, test_size=3, random_state=0)
    >>> [np.sort(y[test], axis=0).T.tolist() for train, test in cv.split(X, y)]
    [[[0, 1, 2], [0, 1, 2]], [[0, 1, 2], [0, 1, 2]]]
    """

    def __init__(
        self,
        n_splits: int = 10,
        *,
        test_size: Any = None,
        train_size: Any = None,
        random_state: int | RandomState | None = None,
        order: int = 1,
        n_bins: int = N_BINS,
        missing_label: Any = np.nan,
        task_types: Any = None,
    ) -> None:
        super().__init__(
            n_splits,
            test_size=test_size,
            train_size=train_size,
            random_state=random_state,
        )
        self._set_labels(order, n_bins, missing_label, task_types)

    def _iter_indices(
        self, X: Any, y: Any = None, groups: Any = None
    ) -> Iterator[tuple[NDArray[np.int64], NDArray[np.int64]]]:
        """Yield training and test rows of each split."""
        n = _num_samples(X)
        for name in ("test_size", "train_size"):
            size = getattr(self, name)
            if isinstance(size, bool) or size != size:
                raise ValueError(
                    f"The {name!r} parameter must be a share of the rows between 0 and "
                    f"1, or a number of rows. Got {size!r}."
                )
        n_train, n_test = _validate_shuffle_split(
            n, self.test_size, self.train_size, self._default_test_size
        )
        labels = self._labels(y, n // min(n_train, n_test))
        warn_of_rare(labels, labels.table, 2, "parts rows")
        sizes = np.array([n_train, n_test, n - n_train - n_test])
        sizes = sizes[sizes > 0]
        rng = check_random_state(self.random_state)
        for _ in range(self.n_splits):
            order = rng.permutation(n)
            table = labels.table[order]
            part = improve_by_swaps(
                table,
                deal_rows(find_rows_per_label(table), sizes, sizes / n),
                sizes / n,
                rng,
            )
            yield order[part == 0], order[part == 1]


def multitask_train_test_split(
    *arrays: Any,
    test_size: object = None,
    train_size: object = None,
    random_state: int | RandomState | None = None,
    stratify: Any = None,
    order: int = 1,
    n_bins: int = N_BINS,
    missing_label: object = np.nan,
    task_types: object = None,
) -> list[Any]:
    """Split arrays into random training and test parts with all labels in proportion.

    What `sklearn.model_selection.train_test_split` with ``stratify=y`` is to one
    target; there a table of labels is stratified by whole rows, which fails where a
    combination of labels occurs once.

    Parameters
    ----------
    *arrays : sequence of array-like with n_samples rows
        What to split: lists, arrays, sparse matrices or DataFrames, such as X and y.
    test_size : float, int or None, default=None
        Share or number of test rows. None: what ``train_size`` leaves, or 0.25.
    train_size : float, int or None, default=None
        Share or number of training rows. None: what ``test_size`` leaves.
    random_state : int, RandomState instance or None, default=None
        Source of the draws. Pass an int for the same split in each call.
    stratify : array-like of shape (n_samples,) or (n_samples, n_tasks), default=None
        The labels to keep in proportion. None: the second array, as in
        ``multitask_train_test_split(X, y)``, or the only one.
    order : {1, 2}, default=1
        Whether to keep pairs of labels of two tasks in proportion too.
    n_bins : int, default=10
        Number of parts of equal size into which numeric labels are cut.
    missing_label : object, default=nan
        A value that marks a missing label.
    task_types : str, dict, sequence or None, default=None
        Kinds of the tasks, all as in `skmtl.model_selection.MultiTaskStratifiedKFold`.

    Returns
    -------
    list
        Training and test part of the first array, then those of the second.

    Examples
    --------
    >>> from sklearn.datasets import load_linnerud
    >>> from skmtl.model_selection import multitask_train_test_split
    >>> X, y = load_linnerud(return_X_y=True, as_frame=True)
    >>> X_train, X_test, y_train, y_test = multitask_train_test_split(
    ...     X, y, random_state=0, task_types="regression"
    ... )
    >>> X_test.shape, y_test.columns.tolist()
    ((5, 3), ['Weight', 'Waist', 'Pulse'])
    """
    if not arrays:
        raise ValueError("At least one array required as input: give X and y.")
    arrays = tuple(indexable(*arrays))
    if stratify is None:
        stratify = arrays[min(1, len(arrays) - 1)]
    if test_size is None and train_size is None:
        test_size = 0.25
    cv = MultiTaskStratifiedShuffleSplit(
        1,
        test_size=test_size,
        train_size=train_size,
        random_state=random_state,
        order=order,
        n_bins=n_bins,
        missing_label=missing_label,
        task_types=task_types,
    )
    train, test = next(cv.split(arrays[0], stratify))
    return list(
        chain.from_iterable(
            (_safe_indexing(array, train), _safe_indexing(array, test))
            for array in arrays
        )
    )
