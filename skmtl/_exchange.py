"""Swaps between parts of a table that bring every label closer to its share."""

from typing import Any

import numpy as np
from numpy.random import RandomState
from numpy.typing import NDArray
from scipy.sparse import csr_array, issparse

#: Units of each part among which the best swap is sought.
N_CANDIDATES = 32
#: Trials in all, and those in a row without a swap after which to end.
MAX_TRIALS, PATIENCE = 5000, 200
#: Labels up to which those of candidates are kept as a dense array, which is faster.
MAX_DENSE = 2000


def exchanged(
    table: csr_array,
    part: NDArray[np.int64],
    shares: NDArray[np.float64],
    random_state: RandomState,
) -> NDArray[np.int64]:
    r"""Swap units between parts as long as that brings labels closer to their shares.

    With the weight :math:`c_{fl}` of a label in a part, its weight :math:`n_l` in all
    and the share :math:`s_f` that the part is to have, the sum

    .. math:: \sum_f \sum_l \frac{(c_{fl} - s_f n_l)^2}{s_f n_l}

    falls with every swap: of a few units of two parts drawn at random, the two whose
    swap makes it fall most trade places.

    Parameters
    ----------
    table : csr_array of shape (n_units, n_labels)
        Weight of each label in each unit: a row or several that stay together.
    part : ndarray of int of shape (n_units,)
        The part of each unit.
    shares : ndarray of shape (n_parts,)
        Share of each part.
    random_state : RandomState
        Source of the draws.

    Returns
    -------
    ndarray of int of shape (n_units,)
        The new part of each unit; each part has as many as before.
    """
    n, n_parts = table.shape[0], len(shares)
    R = scaled(table)  # (n_units, n_labels)
    square = R.multiply(R).sum(axis=1)
    sizes = np.bincount(part, minlength=n_parts)
    starts = np.cumsum(sizes) - sizes
    units = np.argsort(part, kind="stable")  # of the first part, then of the second
    members = csr_array((np.ones(n), (part, np.arange(n))), shape=(n_parts, n))
    surplus = (members @ R).toarray() - np.outer(shares, R.sum(axis=0))
    trial = last_swap = 0
    while trial < min(MAX_TRIALS, last_swap + PATIENCE):
        trial += 1
        f = random_state.randint(n_parts)
        g = (f + random_state.randint(1, n_parts)) % n_parts
        at_f, at_g = (starts[h] + _drawn(sizes[h], random_state) for h in (f, g))
        drawn = units[np.append(at_f, at_g)]
        labels = R[drawn].toarray() if R.shape[1] <= MAX_DENSE else R[drawn]
        slope = surplus[f] / shares[f] - surplus[g] / shares[g]
        curvature = 1 / shares[f] + 1 / shares[g]
        own = curvature * square[drawn]
        rise = _rises(labels, len(at_f), own, 2 * (labels @ slope), curvature)
        i, j = np.unravel_index(rise.argmin(), rise.shape)
        if rise[i, j] < -1e-10:
            units[at_f[i]], units[at_g[j]] = units[at_g[j]], units[at_f[i]]
            change = _dense(labels[[len(at_f) + j]] - labels[[i]])[0]
            surplus[f] += change
            surplus[g] -= change
            last_swap = trial
    new = np.empty(n, dtype=np.int64)
    new[units] = np.repeat(np.arange(n_parts), sizes)
    return new


def _rises(
    labels: Any,
    n_first: int,
    own: NDArray[np.float64],
    linear: NDArray[np.float64],
    curvature: float,
) -> NDArray[np.float64]:
    """Return how far the sum rises with each swap, of shape (n_first, n_second)."""
    common = _dense(labels[:n_first] @ labels[n_first:].T)
    leaving, coming = (own - linear)[:n_first], (own + linear)[n_first:]
    rises: NDArray[np.float64] = np.add.outer(leaving, coming) - 2 * curvature * common
    return rises


def _dense(array: Any) -> NDArray[np.float64]:
    return array.toarray() if issparse(array) else array


def scaled(table: csr_array) -> csr_array:
    """Return the table in units in which the sum is that of squares."""
    total = table.sum(axis=0)
    return csr_array(table.multiply(1 / np.sqrt(np.where(total > 0, total, 1))))


def _drawn(size: int, random_state: RandomState) -> NDArray[np.int64]:
    """Return positions of candidates: all, or some."""
    if size <= N_CANDIDATES:
        return np.arange(size)
    return random_state.randint(size, size=N_CANDIDATES)
