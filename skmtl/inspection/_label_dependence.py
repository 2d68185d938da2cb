"""How much the labels of tasks tell of each other."""

from collections.abc import Sequence
from numbers import Integral
from typing import Any

import numpy as np
from numpy.random import RandomState
from numpy.typing import ArrayLike, NDArray
from sklearn.utils import Bunch, check_random_state

from skmtl._core.validation import Interval, StrOptions, validate_params, warn_user
from skmtl._data.labels import infer_task_types, read_labels, warn_unclear_task_types
from skmtl._data.targets import Targets
from skmtl.inspection._frames import make_framer
from skmtl.inspection._permutation import compute_p_values
from skmtl.relation._label_dependence import N_BINS, check_method, measure_dependence

METHODS = {"mutual_information", "kl", "correlation", "cooccurrence"}
#: Pairs of tasks that a warning names, at most.
N_PAIRS = 3


@validate_params(
    {
        "Y": "no_validation",
        "method": [StrOptions(METHODS)],
        "task_types": [dict, "array-like", None],
        "n_bins": [Interval(Integral, 2, None, closed="left")],
        "min_rows": [Interval(Integral, 1, None, closed="left")],
        "n_permutations": [Interval(Integral, 0, None, closed="left")],
        "missing_label": "no_validation",
        "random_state": ["random_state"],
    },
    prefer_skip_nested_validation=True,
)
def label_dependence(
    Y: ArrayLike,
    method: str = "mutual_information",
    *,
    task_types: object = None,
    n_bins: int = N_BINS,
    min_rows: int = 10,
    n_permutations: int = 0,
    missing_label: object = np.nan,
    random_state: int | RandomState | None = None,
) -> Bunch:
    r"""Measure how much the labels of each pair of tasks tell of each other.

    Each pair is measured over the rows in which both tasks have a label. Inputs and
    models play no part: tasks whose labels depend on each other are candidates for
    sharing, not more.

    Parameters
    ----------
    Y : array-like or DataFrame of shape (n_samples, n_tasks)
        Labels of any kinds, as for `skmtl.MultiTaskEstimator`; NaN or None where one
        is missing.
    method : str, default="mutual_information"
        What to measure of tasks i and j:

        - "mutual_information": divergence of their joint distribution from independent
          labels, in nats: :math:`I_{ij} = D_{KL}(P_{ij} \| P_i P_j) = \sum_{a, b}
          P_{ij}(a, b) \log \frac{P_{ij}(a, b)}{P_i(a) P_j(b)}`. It takes any labels;
          numbers are cut into bins. The diagonal is the entropy. With few rows or many
          classes it is too large, on average by about :math:`(K_i - 1)(K_j - 1) / 2n`
          [1]_: see ``n_permutations``.
        - "kl": divergence of their labels' distributions, :math:`D_{KL}(P_i \| P_j) =
          \sum_a P_i(a) \log \frac{P_i(a)}{P_j(a)}`, for tasks with the same classes.
          A class that only i has counts as half a label of j. It compares how often
          classes occur, not whether they occur together.
        - "correlation": Pearson's correlation between numbers and between tasks of two
          classes, coded 0 and 1; between these and several classes the correlation
          ratio; between several classes and several Cramér's V [2]_. The last two have
          no sign. It is zero where a label does not vary.
        - "cooccurrence": :math:`P(L_j = 1 | L_i = 1)`, how often j has its second class
          where i has it [3]_, for tasks of two classes. A task that has only one class
          counts as never positive.
    task_types : dict or list, default=None
        Kind of each task, as in `skmtl.MultiTaskEstimator`.
    n_bins : int, default=5
        Number of bins that hold equally many of a task's numbers, for
        "mutual_information".
    min_rows : int, default=10
        A pair measured over fewer rows has the value NaN.
    n_permutations : int, default=0
        How often labels are drawn at random for ``p_value``; 0 leaves it out. The
        smallest possible p-value is ``1 / (n_permutations + 1)``.
    missing_label : object, default=np.nan
        A value that marks a missing label, beside NaN and None.
    random_state : int, RandomState instance or None, default=None
        Decides the random draws.

    Returns
    -------
    result : `sklearn.utils.Bunch`
        With these attributes, all of shape (n_tasks, n_tasks); DataFrames with task
        names where Y is a DataFrame, else arrays:

        value : ndarray or DataFrame
            What ``method`` measures of the tasks of row i and column j.
        n_rows : ndarray or DataFrame of int
            Number of rows that tell it: those with both labels and, for
            "cooccurrence", i positive.
        p_value : ndarray, DataFrame or None
            Share of random draws that give at least this value, the observed one
            counted among them; NaN on the diagonal. What counts is the size of a
            correlation, whatever its sign, and the distance of a co-occurrence from
            its mean. Draws shuffle the labels in the pair's rows; for "correlation",
            in each task's labelled rows; for "kl", they swap the two labels of a row
            or do not. None without permutations.

    Raises
    ------
    ValueError
        If the classes are not such as ``method`` needs.

    Warns
    -----
    UserWarning
        Once, if pairs have fewer than ``min_rows`` rows.

    References
    ----------
    .. [1] G. A. Miller, "Note on the Bias of Information Estimates", Information
       Theory in Psychology, 1955.
    .. [2] H. Cramér, "Mathematical Methods of Statistics", Princeton University Press,
       1946.
    .. [3] Z.-M. Chen et al., "Multi-Label Image Recognition with Graph Convolutional
       Networks", CVPR 2019.

    Examples
    --------
    >>> import numpy as np
    >>> from skmtl.inspection import label_dependence
    >>> rng = np.random.default_rng(0)
    >>> a = rng.integers(3, size=200)
    >>> Y = np.column_stack([a, a == 2, rng.integers(2, size=200)])
    >>> result = label_dependence(Y, n_permutations=99, random_state=0)
    >>> result.value.round(2)
    array([[1.09, 0.67, 0.01],
           [0.67, 0.67, 0.01],
           [0.01, 0.01, 0.69]])
    >>> (result.p_value < 0.05)[0].tolist()
    [False, True, False]
    """
    columns = read_labels(Y, missing_label)
    targets = Targets(columns, infer_task_types(columns, task_types))
    warn_unclear_task_types(columns, task_types)
    names, n_classes = targets.names, targets.n_classes
    check_method(
        method, names, targets.classes, "The 'method' parameter of label_dependence"
    )
    labels = targets.encode(columns)
    value, n_rows = measure_dependence(labels, n_classes, method, n_bins)
    too_few = n_rows < min_rows
    if too_few.any():
        _warn_of_few_rows(too_few, names, min_rows)
    to_frame = make_framer(Y, names)
    p_value = None
    if n_permutations:
        rng = np.random.default_rng(check_random_state(random_state).randint(2**31))
        p = compute_p_values(labels, n_classes, method, n_bins, n_permutations, rng)
        p_value = to_frame(np.where(too_few, np.nan, p))
    return Bunch(
        value=to_frame(np.where(too_few, np.nan, value)),
        n_rows=to_frame(n_rows.astype(np.int64)),
        p_value=p_value,
    )


def _warn_of_few_rows(
    too_few: NDArray[np.bool_], names: Sequence[Any], min_rows: int
) -> None:
    """Name pairs of tasks that have too few rows."""
    # A pair is named once, unless only one of its directions lacks rows.
    mask = np.triu(too_few) | (too_few & ~too_few.T)
    if len(names) > 1:
        np.fill_diagonal(mask, False)
    pairs = [f"{names[i]!r} and {names[j]!r}" for i, j in np.argwhere(mask)]
    text = ", ".join(pairs[:N_PAIRS])
    if len(pairs) > N_PAIRS:
        text += f" and {len(pairs) - N_PAIRS} more pairs"
    warn_user(
        f"Fewer than min_rows={min_rows} rows tell how these tasks depend on each "
        f"other: {text}. Their value is NaN; lower min_rows, or leave tasks out.",
    )
