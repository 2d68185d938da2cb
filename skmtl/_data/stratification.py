"""Hold-out splits and folds that keep every task's labels in proportion."""

from collections.abc import Sequence

import numpy as np
from numpy.random import RandomState
from numpy.typing import NDArray

from skmtl._data.labels import Labels
from skmtl._data.training_data import RowIndex, choose_index_dtype, find_rows

#: Parts of equal size into which numeric labels are cut.
N_BINS = 4


def split_holdout(
    labels: Sequence[Labels], fraction: float, random_state: RandomState
) -> tuple[RowIndex, RowIndex]:
    """Split rows in two, stratified over several tasks as far as possible."""
    # Labels are served from the rarest to the most common: of the rows that carry one
    # and are not yet placed, the hold-out gets as many as it still lacks. That is
    # iterative stratification (Sechidis, Tsoumakas and Vlahavas, "On the Stratification
    # of Multi-Label Data", ECML PKDD 2011) for two parts, with missing and numeric
    # labels. labels: per task (n_samples,) codes, negative where missing, or numbers,
    # NaN where missing. Returns sorted rows of training, and those held out.
    n = len(labels[0])
    n_held_out = min(max(round(fraction * n), 1), n - 1)
    order = random_state.permutation(n)
    labelled = _find_rows_per_label([_encode_strata(task)[order] for task in labels])
    held_out = np.zeros(n, dtype=bool)
    unplaced = len(labelled)
    placed = np.full(n, unplaced, dtype=np.int32)  # rank of the label that placed a row
    for rank, carriers in enumerate(labelled):
        rows = carriers[placed[carriers] == unplaced]
        lacking = round(fraction * len(carriers)) - int(held_out[carriers].sum())
        room = n_held_out - int(held_out.sum())
        held_out[rows[: max(min(lacking, room), 0)]] = True
        placed[rows] = rank
    # Rounding may leave a few places: rows of the most common labels take them.
    rest = np.flatnonzero(~held_out)
    rest = rest[np.argsort(-placed[rest], kind="stable")]
    held_out[rest[: n_held_out - int(held_out.sum())]] = True
    chosen = np.empty(n, dtype=bool)
    chosen[order] = held_out
    return find_rows(~chosen), find_rows(chosen)


def _find_rows_per_label(codes: Sequence[Labels]) -> list[RowIndex]:
    """Return the rows that carry each label, the rarest label first."""
    carriers = []
    for task in codes:
        rows = np.argsort(task, kind="stable").astype(choose_index_dtype(len(task)))
        counts = np.bincount(task[task >= 0])
        ends = np.cumsum([(task < 0).sum(), *counts])
        carriers += np.split(rows, ends)[1:-1]
    return sorted(carriers, key=len)


def _encode_strata(labels: Labels) -> Labels:
    if labels.dtype.kind != "f":
        return labels
    codes = np.full(len(labels), -1, dtype=np.int8)
    present = ~np.isnan(labels)
    codes[present] = bin_by_quantiles(labels[present], N_BINS)
    return codes


def bin_by_quantiles(values: Labels, n_bins: int) -> NDArray[np.int64]:
    """Return the part of equal size that each number lies in."""
    # values of shape (n_values,); returns (n_values,).
    if not len(values):  # of which there are no quantiles
        return np.zeros(0, dtype=np.int64)
    edges = np.quantile(values, np.arange(1, n_bins) / n_bins)
    return np.searchsorted(edges, values)


def make_stratified_folds(
    labels: Sequence[Labels], n_folds: int, random_state: RandomState
) -> NDArray[np.int64]:
    """Assign rows to folds of equal size, stratified over several tasks."""
    # Rows that carry a label go, the rarest label first, one after the other, to the
    # fold that has fewest of it, as in iterative stratification (see `split_holdout`);
    # of equal folds, to the one with most room. Returns the fold of each row,
    # (n_samples,); sizes of folds differ by one at most.
    n = len(labels[0])
    order = random_state.permutation(n)
    labelled = _find_rows_per_label([_encode_strata(task)[order] for task in labels])
    sizes = np.full(n_folds, n // n_folds)
    sizes[random_state.permutation(n_folds)[: n % n_folds]] += 1
    folds = np.empty(n, dtype=choose_index_dtype(n))
    folds[order] = deal_rows(labelled, sizes, np.full(n_folds, 1 / n_folds))
    return folds


def deal_rows(
    labelled: list[Labels],
    sizes: NDArray[np.int64],
    shares: NDArray[np.float64],
    *,
    in_blocks: bool = False,
) -> NDArray[np.int64]:
    """Assign rows to parts, those that carry the rarest labels first."""
    # sizes of shape (n_parts,), shares of shape (n_parts,); returns (n_samples,).
    n = int(sizes.sum())
    part = np.full(n, -1, dtype=choose_index_dtype(n))
    room = np.array(sizes)
    for carriers in labelled:
        _place(part, carriers, shares, room, in_blocks)
    _place(part, np.flatnonzero(part < 0), shares, room, in_blocks)
    return part


def _place(
    part: NDArray[np.int64],
    carriers: RowIndex,
    shares: NDArray[np.float64],
    room: NDArray[np.int64],
    in_blocks: bool,
) -> None:
    """Assign the rows of a label that have no part yet."""
    taken = part[carriers]
    have = np.bincount(taken[taken >= 0], minlength=len(room))
    rows = carriers[taken < 0]
    chosen = _assign_rows(len(rows), have, shares * len(carriers), room)
    part[rows] = np.sort(chosen) if in_blocks else chosen
    room -= np.bincount(chosen, minlength=len(room))


def _assign_rows(
    n_rows: int,
    have: NDArray[np.int64],
    wanted: NDArray[np.float64],
    room: NDArray[np.int64],
) -> NDArray[np.int64]:
    """Return the parts to which rows go, each to that which then lacks most."""
    places = np.minimum(room, n_rows)
    of_part = np.repeat(np.arange(len(room)), places)
    nth = np.arange(len(of_part)) - np.repeat(places.cumsum() - places, places)
    # A place counts as what its part has by then; larger parts fill up first.
    surplus = (have[of_part] + nth) - wanted[of_part]
    return of_part[np.lexsort((-(room[of_part] - nth), surplus))[:n_rows]]
