"""Tables with several tasks, as related as is asked for."""

from numbers import Integral, Real
from typing import Any

import numpy as np
from numpy.random import RandomState
from numpy.typing import ArrayLike, NDArray
from sklearn.utils import Bunch, check_random_state

from skmtl._core.validation import Interval, validate_params
from skmtl.datasets._functions import Functions
from skmtl.datasets._relation import check_relation, related_groups

Array = NDArray[np.float64]

#: Constraints of the parameters that both generators have.
SHARED: dict[str, Any] = {
    "n_samples": [Interval(Integral, 1, None, closed="left")],
    "n_features": [Interval(Integral, 1, None, closed="left")],
    "n_tasks": [Interval(Integral, 1, None, closed="left"), None],
    "relatedness": [Interval(Real, -1, 1, closed="both"), None],
    "groups": [Interval(Integral, 1, None, closed="left"), "array-like", None],
    "relation": ["array-like", None],
    "noise": [Interval(Real, 0, None, closed="left"), "array-like"],
    "missing": [Interval(Real, 0, 1, closed="left"), "array-like"],
    "return_X_y": ["boolean"],
    "random_state": ["random_state"],
}


@validate_params(SHARED, prefer_skip_nested_validation=True)
def make_multitask_regression(
    n_samples: int = 1000,
    *,
    n_features: int = 10,
    n_tasks: int | None = None,
    relatedness: float | None = None,
    groups: int | ArrayLike | None = None,
    relation: ArrayLike | None = None,
    noise: float | ArrayLike = 0.1,
    missing: float | ArrayLike = 0.0,
    return_X_y: bool = True,
    random_state: int | RandomState | None = None,
) -> Any:
    r"""Make a table with several numbers to predict, as related as is asked for.

    Inputs are independent and standard normal. Task t has the target

    .. math:: y_t = f_t(x) + \sigma_t \varepsilon_t, \qquad
       f_t(x) = \sum_k (R^{1/2})_{tk} \, g_k(x)

    where the :math:`g_k`, as many as there are tasks, are uncorrelated functions of
    mean zero and variance one, and R holds the correlations between the tasks'
    functions: a linear model of coregionalization [1]_. Each :math:`g_k` is a random
    network with a few ReLUs as hidden units. The correlations hold exactly over the
    distribution of inputs, since the covariance of such units is known [2]_, and in a
    sample up to its size.

    A network that tasks share helps related tasks, which need the same hidden units,
    and is no use to tasks with correlation zero, which need others. The more such tasks
    there are for the number of features, the less linear their functions are.

    Parameters
    ----------
    n_samples : int, default=1000
        Number of rows. The functions do not depend on it.
    n_features : int, default=10
        Number of inputs, all of which matter to all tasks.
    n_tasks : int, default=None
        Number of tasks; None takes that of ``relation`` or ``groups``, or 4 where they
        have none.
    relatedness : float, default=None
        Correlation between the functions of related tasks, from -1 to 1; None is 0.8.
        At 1 they have the same function, at 0 nothing in common. Below zero, n related
        tasks can have ``-1 / (n - 1)`` at the least.
    groups : int or list, default=None
        Which tasks are related; tasks of different groups have correlation zero. A
        number of groups of neighbouring tasks of about equal size, a label per task,
        or a list of lists of task numbers. None makes all tasks related.
    relation : array-like of shape (n_tasks, n_tasks), default=None
        All correlations, in place of ``relatedness`` and ``groups``: a symmetric,
        positive semidefinite matrix with ones on its diagonal.
    noise : float or array-like of shape (n_tasks,), default=0.1
        Standard deviation of the noise, where the functions have 1. No model can reach
        a higher R² than ``1 / (1 + noise**2)``.
    missing : float or array-like of shape (n_tasks,), default=0.0
        Share of each task's labels that are missing, at random: NaN.
    return_X_y : bool, default=True
        Whether to return X and Y alone.
    random_state : int, RandomState instance or None, default=None
        Decides the functions, inputs, noise and missing labels.

    Returns
    -------
    (X, Y) : tuple of ndarray
        Inputs of shape (n_samples, n_features) and targets of shape (n_samples,
        n_tasks).
    data : `sklearn.utils.Bunch`
        If ``return_X_y`` is False, with these attributes:

        X, Y : ndarray
            The same.
        signal : ndarray of shape (n_samples, n_tasks)
            The functions' values, without noise.
        relation : ndarray of shape (n_tasks, n_tasks)
            The correlations between the functions.
        groups : list of list of int
            Groups of tasks that correlations other than zero connect.

    Raises
    ------
    ValueError
        If the relation is impossible, or the parameters contradict each other.

    References
    ----------
    .. [1] M. A. Álvarez, L. Rosasco and N. D. Lawrence, "Kernels for Vector-Valued
       Functions: A Review", Foundations and Trends in Machine Learning 2012.
    .. [2] Youngmin Cho and Lawrence K. Saul, "Kernel Methods for Deep Learning",
       NeurIPS 2009.

    Examples
    --------
    >>> import numpy as np
    >>> from skmtl.datasets import make_multitask_regression
    >>> X, Y = make_multitask_regression(
    ...     5000, groups=[[0, 2], [1]], relatedness=0.9, noise=0, random_state=0
    ... )
    >>> np.corrcoef(Y.T).round(1) + 0.0
    array([[1. , 0. , 0.9],
           [0. , 1. , 0. ],
           [0.9, 0. , 1. ]])
    """
    rng = check_random_state(random_state)
    relation = check_relation(n_tasks, relatedness, groups, relation)
    noise = _per_task("noise", noise, len(relation), 0, np.inf)
    missing = _per_task("missing", missing, len(relation), 0, 1)
    X, signal, Y = _draw(n_samples, n_features, relation, noise, rng)
    Y[_absent(missing, n_samples, rng)] = np.nan
    return (X, Y) if return_X_y else _bunch(X, Y, signal, relation)


@validate_params(
    SHARED
    | {
        "n_classes": [Interval(Integral, 2, None, closed="left"), "array-like"],
        "imbalance": [Interval(Real, 0, 1, closed="neither"), "array-like", None],
    },
    prefer_skip_nested_validation=True,
)
def make_multitask_classification(
    n_samples: int = 1000,
    *,
    n_features: int = 10,
    n_tasks: int | None = None,
    n_classes: int | ArrayLike = 2,
    relatedness: float | None = None,
    groups: int | ArrayLike | None = None,
    relation: ArrayLike | None = None,
    noise: float | ArrayLike = 0.1,
    imbalance: float | ArrayLike | None = None,
    missing: float | ArrayLike = 0.0,
    return_X_y: bool = True,
    random_state: int | RandomState | None = None,
) -> Any:
    r"""Make a table with several classes to predict, as related as is asked for.

    Each task has a score, which is a target of `make_multitask_regression`: a function
    of the inputs, correlated with those of other tasks, plus noise. Quantiles of the
    score over the rows cut it into classes: 0 where it is low, ``n_classes - 1`` where
    it is high.

    Parameters
    ----------
    n_samples : int, default=1000
        Number of rows. The functions do not depend on it.
    n_features : int, default=10
        Number of inputs, all of which matter to all tasks.
    n_tasks : int, default=None
        Number of tasks; None takes that of ``relation`` or ``groups``, or 4 where they
        have none.
    n_classes : int or array-like of shape (n_tasks,), default=2
        Number of classes, of all tasks or of each.
    relatedness : float, default=None
        Correlation between the functions of related tasks, from -1 to 1; None is 0.8.
        At 1 they have the same function, at 0 nothing in common. Below zero, n related
        tasks can have ``-1 / (n - 1)`` at the least.
    groups : int or list, default=None
        Which tasks are related; tasks of different groups have correlation zero. A
        number of groups of neighbouring tasks of about equal size, a label per task,
        or a list of lists of task numbers. None makes all tasks related.
    relation : array-like of shape (n_tasks, n_tasks), default=None
        All correlations, in place of ``relatedness`` and ``groups``: a symmetric,
        positive semidefinite matrix with ones on its diagonal.
    noise : float or array-like of shape (n_tasks,), default=0.1
        Standard deviation of the noise in the scores, where the functions have 1.
    imbalance : float or array-like of shape (n_tasks,), default=None
        Share of class 0, at least ``1 / n_classes``; the others share the rest equally.
        None makes all classes equally frequent.
    missing : float or array-like of shape (n_tasks,), default=0.0
        Share of each task's labels that are missing, at random: NaN.
    return_X_y : bool, default=True
        Whether to return X and Y alone.
    random_state : int, RandomState instance or None, default=None
        Decides the functions, inputs, noise and missing labels.

    Returns
    -------
    (X, Y) : tuple of ndarray
        Inputs of shape (n_samples, n_features) and classes of shape (n_samples,
        n_tasks): integers, or floats where labels are missing.
    data : `sklearn.utils.Bunch`
        If ``return_X_y`` is False, with these attributes:

        X, Y : ndarray
            The same.
        signal : ndarray of shape (n_samples, n_tasks)
            The functions' values, without noise.
        relation : ndarray of shape (n_tasks, n_tasks)
            The correlations between the functions.
        groups : list of list of int
            Groups of tasks that correlations other than zero connect.

    Raises
    ------
    ValueError
        If the relation is impossible, or the parameters contradict each other.

    Examples
    --------
    >>> import numpy as np
    >>> from skmtl.datasets import make_multitask_classification
    >>> X, Y = make_multitask_classification(
    ...     100, n_tasks=2, n_classes=[2, 5], imbalance=[0.9, 0.2], random_state=0
    ... )
    >>> [np.bincount(y) for y in Y.T]
    [array([90, 10]), array([20, 20, 20, 20, 20])]
    """
    rng = check_random_state(random_state)
    relation = check_relation(n_tasks, relatedness, groups, relation)
    noise = _per_task("noise", noise, len(relation), 0, np.inf)
    missing = _per_task("missing", missing, len(relation), 0, 1)
    sizes = _per_task("n_classes", n_classes, len(relation), 2, np.inf)
    if (sizes % 1).any():
        raise ValueError(
            f"The 'n_classes' parameter must hold integers. Got {sizes.tolist()}."
        )
    first = 1 / sizes if imbalance is None else imbalance
    first = _per_task("imbalance", first, len(relation), 1 / sizes, 1)
    X, signal, scores = _draw(n_samples, n_features, relation, noise, rng)
    columns = map(_classes, scores.T, sizes.astype(int), first)
    Y: NDArray[Any] = np.column_stack(list(columns))
    if missing.any():
        Y = np.where(_absent(missing, n_samples, rng), np.nan, Y)
    return (X, Y) if return_X_y else _bunch(X, Y, signal, relation)


def _per_task(
    name: str, value: ArrayLike, n_tasks: int, low: float | Array, high: float
) -> Array:
    """Return one number per task, from low to below high."""
    given = np.asarray(value, dtype=np.float64)
    if given.shape not in [(), (n_tasks,)]:
        raise ValueError(
            f"The '{name}' parameter must be one number or one for each of the "
            f"{n_tasks} tasks. Got shape {given.shape}."
        )
    values = np.broadcast_to(given, n_tasks)
    if not ((values >= low) & (values < high)).all():
        least = np.broadcast_to(low, n_tasks)[~(values >= low) | ~(values < high)][0]
        raise ValueError(
            f"The '{name}' parameter must hold numbers from {least:.3g} to less than "
            f"{high}. Got {values.tolist()}."
        )
    return values


def _draw(
    n_samples: int, n_features: int, relation: Array, noise: Array, rng: RandomState
) -> tuple[Array, Array, Array]:
    """Return inputs, and the tasks' values without noise and with it."""
    functions = Functions.draw(relation, n_features, rng)
    X = rng.normal(size=(n_samples, n_features))
    signal = functions(X)  # (n_samples, n_tasks)
    return X, signal, signal + noise * rng.normal(size=signal.shape)


def _classes(score: Array, n_classes: int, first: float) -> NDArray[np.int64]:
    """Cut scores into classes, of which the first has a share of its own."""
    shares = first + (1 - first) * np.arange(n_classes - 1) / (n_classes - 1)
    return np.searchsorted(np.quantile(score, shares), score)


def _absent(missing: Array, n_samples: int, rng: RandomState) -> NDArray[np.bool_]:
    """Return which labels are missing: shares of each task's, rounded down."""
    n_missing = (missing * n_samples).astype(int)
    rank = rng.random_sample((n_samples, len(missing))).argsort(axis=0).argsort(axis=0)
    return rank < n_missing


def _bunch(X: Array, Y: NDArray[Any], signal: Array, relation: Array) -> Bunch:
    groups = related_groups(relation)
    return Bunch(X=X, Y=Y, signal=signal, relation=relation, groups=groups)
