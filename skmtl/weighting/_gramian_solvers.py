"""Small problems on the Gramian of the tasks' gradients, solved with numpy and scipy.

Gradients are the columns of a root R of their Gramian, R.T @ R = G, up to a rotation
that none of the methods sees.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import nnls

Array = NDArray[np.float64]

#: Eigenvalues below this share of the largest are rounding errors of float32.
NOISE = 1e-6
#: Gradients shorter than this share of the longest count as zero.
SHORTEST = 1e-10
#: Weights whose sum is below this share of the sum of their sizes cannot be rescaled.
MIN_RELATIVE_SUM = 0.1


def solve_or_equal(
    solve: Callable[[Array, NDArray[Any]], Array], gramian: Array
) -> tuple[Array, bool]:
    """Return weights that sum to the number of tasks, and whether the solver failed."""
    # The solver sees the tasks that have a gradient, by a Gramian whose mean diagonal
    # is one and by their numbers. Tasks without a gradient weigh one, and so do all
    # where the solver fails: raises, returns what isn't finite, or what sums to too
    # little.
    # gramian of shape (n_tasks, n_tasks).
    weights = np.ones(len(gramian))
    if not np.isfinite(gramian).all():
        return weights, True
    squares = gramian.diagonal()
    tasks = np.flatnonzero(squares > SHORTEST**2 * squares.max())
    if len(tasks) < 2:
        return weights, False
    scaled = gramian[np.ix_(tasks, tasks)] / squares[tasks].mean()
    try:
        with np.errstate(all="ignore"):
            solution = solve(scaled, tasks)
            total = solution.sum()
            usable = (
                total > MIN_RELATIVE_SUM * np.abs(solution).sum()
            )  # not where one is NaN
    except (ArithmeticError, RuntimeError, ValueError):
        return weights, True
    if usable:
        weights[tasks] = solution * (len(tasks) / total)
    return weights, not usable


def normalize_gramian(gramian: Array) -> tuple[Array, Array]:
    """Return the cosines of gradients and their norms."""
    norms = np.sqrt(gramian.diagonal())
    return gramian / np.outer(norms, norms), norms


def factor_gramian(gramian: Array) -> Array:
    """Return R with R.T @ R = G."""
    eigenvalues, vectors = np.linalg.eigh(gramian)
    return np.sqrt(eigenvalues.clip(min=0))[:, None] * vectors.T  # type: ignore[no-any-return]


def minimize_norm(R: Array, bounds: Array) -> tuple[Array, float]:
    """Return multipliers of the shortest x with R.T @ x >= bounds.

    This is least distance programming [1]_: x = R @ u / rho, with u that one problem
    of non-negative least squares gives and rho = 1 / (1 + |x|^2), which is zero where
    no x meets the bounds.

    References
    ----------
    .. [1] C. L. Lawson and R. J. Hanson, "Solving Least Squares Problems", 1974,
       chapter 23.
    """
    A = np.vstack([R, bounds])
    norms = np.sqrt((A**2).sum(axis=0))
    target = np.zeros(len(A))
    target[-1] = 1
    u, _ = nnls(A / norms, target)
    u /= norms
    return u, 1 - bounds @ u


def project_to_dual_cone(U: Array, gramian: Array) -> Array:
    """Return the combinations nearest to given ones that no gradient opposes."""
    # Each row u becomes the v >= u with the least v.T @ G @ v. Gradients are made of
    # one length, else short ones would drown in rounding errors.
    # U of shape (..., n_tasks), gramian of shape (n_tasks, n_tasks).
    cosines, norms = normalize_gramian(gramian)
    R = factor_gramian(cosines)
    V = np.stack([v + nnls(R, -R @ v)[0] for v in np.atleast_2d(U * norms)])
    return (V / norms).reshape(U.shape)
