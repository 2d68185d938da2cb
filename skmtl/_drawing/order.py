"""In which order to show tasks, so that those that belong together stand together."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.cluster.hierarchy import leaves_list, linkage
from scipy.spatial.distance import squareform


def order_tasks(
    affinity: NDArray[np.float64], groups: Sequence[Sequence[int]] | None = None
) -> list[list[int]]:
    """Return groups of tasks in the order in which neighbours help each other most."""
    # affinity of shape (n_tasks, n_tasks).
    leaves = _leaves(np.nan_to_num(affinity))
    if groups is None:
        return [leaves]
    place = {task: i for i, task in enumerate(leaves)}
    by_place = [sorted(group, key=place.__getitem__) for group in groups if len(group)]
    return sorted(by_place, key=lambda group: np.mean([place[task] for task in group]))


def _leaves(affinity: NDArray[np.float64]) -> list[int]:
    """Return the order of the leaves of average linkage."""
    if len(affinity) < 3:
        return list(range(len(affinity)))
    mutual = (affinity + affinity.T) / 2
    np.fill_diagonal(mutual, 0)
    distance = mutual.max() - mutual
    tree = linkage(squareform(distance, checks=False), "average", optimal_ordering=True)
    order = leaves_list(tree).tolist()
    return order if order[0] < order[-1] else order[::-1]
