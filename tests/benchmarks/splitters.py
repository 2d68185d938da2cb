"""How even splitters deal the labels of real tables, and how long they take.

    python tests/benchmarks/splitters.py DATA [--sets NAME ...] [--folds K ...]
        [--large] [--cpu-time]

DATA is the folder of the benchmark sets, with their loader load.py. Contestants are
KFold, shuffled and not, skmtl's splitter and, where it is installed, the package
`iterative-stratification`, which knows labels of zero and one only: it is given the
columns that distances are measured over.

The distance is that of Sechidis et al. (2011): the mean over labels and folds of
how far the odds of a label in a fold are from those in all rows. Labels are all classes
of all tasks but the most common one of each, parts of the range of numbers, and that a
label is missing. "bound" is the distance if each label had by itself the most even
counts that whole rows allow. "lost" counts folds that lack a label with a row for each,
over all labels; "pairs lost" the same of labels of two tasks that rows carry
together. "ratio" is to shuffled KFold. All are means of several seeds.
"""

import argparse
import sys
import warnings
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from pathlib import Path

import numpy as np
from measure import seconds, use_cpu_time
from scipy.sparse import csr_array
from sklearn.model_selection import KFold

from skmtl.model_selection import MultiTaskStratifiedKFold
from skmtl.model_selection._labels import pair_table

SETS = ("medical", "birds", "tox21", "drug", "emotions", "student", "enb", "wq")
SEEDS = range(3)
N_BINS = 10
TITLES = (
    *("table", "folds", "splitter", "distance", "ratio"),
    *("bound", "lost", "pairs lost", "s"),
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data", type=Path)
    parser.add_argument("--sets", nargs="*", default=SETS)
    parser.add_argument("--folds", nargs="*", type=int, default=(5, 10))
    parser.add_argument("--large", action="store_true")
    parser.add_argument("--cpu-time", action="store_true")
    args = parser.parse_args()
    if args.cpu_time:
        use_cpu_time()
    sys.path.insert(0, str(args.data))
    from load import load

    warnings.filterwarnings("ignore", "Some classes have fewer", UserWarning)
    print(f"| {' | '.join(TITLES)} |\n|{'---|' * len(TITLES)}")
    for name in args.sets:
        d = load(name)
        kinds = [t if t == "regression" else "classification" for t in d["task_types"]]
        for k in args.folds:
            report(name, d["Y"], kinds, k)
    if args.large:
        rng = np.random.default_rng(0)
        Y = rng.integers(0, 5, (100_000, 50)).astype(float)
        Y[rng.random(Y.shape) < 0.3] = np.nan
        report("100,000 x 50", Y, ["classification"] * 50, 5, orders=(1,))


def report(
    name: str,
    Y: np.ndarray,
    kinds: list[str],
    k: int,
    orders: tuple[int, ...] = (1, 2),
) -> None:
    """Print the lines of one table."""
    Z = label_columns(Y, kinds, k)
    pairs = pair_table(csr_array(Z.astype(float)), 1) if 2 in orders else None
    makers = contestants(k, kinds, orders)
    lines = {}
    for splitter, make in makers.items():
        own = splitter.startswith("skmtl")
        runs = [folds(make(seed), Y if own else Z.astype(int)) for seed in SEEDS]
        lines[splitter] = np.mean(
            [
                (distance(Z, fold, k), lost(Z, fold, k), lost(pairs, fold, k), cost)
                for fold, cost in runs
            ],
            axis=0,
        )
    reference = lines["KFold, shuffled"][0]
    for splitter, (gap, n_lost, n_pairs, cost) in lines.items():
        ratio, least = gap / reference, bound(Z, k) / reference
        print(
            f"| {name} | {k} | {splitter} | {gap:.5f} | {ratio:.3f} | {least:.3f} | "
            f"{n_lost:.1f} | {n_pairs:.1f} | {cost:.2f} |",
            flush=True,
        )


def contestants(
    k: int, kinds: list[str], orders: tuple[int, ...]
) -> dict[str, Callable[[int], object]]:
    """Return makers of splitters by seed."""
    found = {
        "KFold": lambda seed: KFold(k),
        "KFold, shuffled": lambda seed: KFold(k, shuffle=True, random_state=seed),
    }
    for order in orders:
        found[f"skmtl, order {order}"] = partial(
            MultiTaskStratifiedKFold, k, shuffle=True, order=order, task_types=kinds
        )
    with suppress(ImportError):
        from iterstrat.ml_stratifiers import MultilabelStratifiedKFold

        found["iterative-stratification"] = partial(
            MultilabelStratifiedKFold, n_splits=k, shuffle=True
        )
    return {
        name: make if name.startswith("KFold") else lambda s, m=make: m(random_state=s)
        for name, make in found.items()
    }


def folds(splitter: object, y: np.ndarray) -> tuple[np.ndarray, float]:
    """Return the fold of each row and the time that took."""
    fold = np.empty(len(y), dtype=int)

    def split() -> None:
        for number, (_, test) in enumerate(splitter.split(y, y)):
            fold[test] = number

    return fold, seconds(split)


def label_columns(Y: np.ndarray, kinds: list[str], k: int) -> np.ndarray:
    """Return which labels each row has, without the most common of each task."""
    columns = []
    for values, kind in zip(Y.T, kinds, strict=True):
        present = ~np.isnan(values)
        codes = values
        if kind == "regression":
            bins = min(N_BINS, present.sum() // k)
            edges = np.quantile(values[present], np.arange(1, bins) / bins)
            codes = np.where(present, np.searchsorted(edges, values), np.nan)
        own = [codes == c for c in np.unique(codes[present])] + [~present]
        own.sort(key=lambda column: column.sum())
        columns += [column for column in own[:-1] if column.any()]
    return np.stack(columns, axis=1)  # (n, n_labels)


def distance(Z: np.ndarray, fold: np.ndarray, k: int) -> float:
    """Return the mean distance of labels' odds."""
    counts = np.stack([Z[fold == number].sum(axis=0) for number in range(k)])
    sizes, total = np.bincount(fold, minlength=k)[:, None], Z.sum(axis=0)
    odds = counts / np.maximum(sizes - counts, 1e-9)
    return float(abs(odds - total / (len(Z) - total)).mean())


def lost(table: np.ndarray | csr_array | None, fold: np.ndarray, k: int) -> float:
    """Return how many times a fold lacks a label that has a row for each."""
    if table is None:
        return np.nan
    counts = np.stack([table[fold == number].sum(axis=0) for number in range(k)])
    return float(((counts == 0) & (counts.sum(axis=0) >= k)).sum())


def bound(Z: np.ndarray, k: int) -> float:
    """Return the distance where each label has the most even counts."""
    n, total = len(Z), Z.sum(axis=0)
    low, more = np.divmod(total, k)
    gap = [abs(c / (n / k - c) - total / (n - total)) for c in (low, low + 1)]
    return float(((k - more) * gap[0] + more * gap[1]).mean() / k)


if __name__ == "__main__":
    main()
