"""Parametrising by pairs: what three things do together, two of them at a time."""

from itertools import product

import pytest


def pairs(names, *axes):
    """Parametrise so that any two values of two axes meet in some test.

    Every value of the longest axis meets every value of the second longest, with values
    of the shortest taken in turns. That is as many tests as the two have pairs, where
    all combinations would be as many times more as the third is long.

    Parameters
    ----------
    names : sequence of str, of length 3
        Names of the arguments of the test.
    *axes : dict or iterable
        Values of each argument; the keys of a dict are names for ids.
    """
    longest_first = sorted(range(3), key=lambda k: -len(list(axes[k])))
    rows, columns, turns = (_named(axes[k]) for k in longest_first)
    cases = []
    for (i, row), (j, column) in product(enumerate(rows), enumerate(columns)):
        cells = dict(
            zip(longest_first, (row, column, turns[(i + j) % len(turns)]), strict=True)
        )
        ids, values = zip(*(cells[k] for k in range(3)), strict=True)
        cases.append(pytest.param(*values, id="-".join(ids)))
    return pytest.mark.parametrize(names, cases)


def _named(axis):
    """Return the values of an axis with their names."""
    if isinstance(axis, dict):
        return list(axis.items())
    return [(getattr(value, "__name__", str(value)), value) for value in axis]
