"""What scoring several tasks costs beside scikit-learn's bare metrics.

    python tests/benchmarks/metrics.py [--rows 100000] [--tasks 20] [--rounds 5]

prints for some metrics the CPU seconds of a plain loop that calls scikit-learn's
function for each column, those of `make_multitask_scorer` on an estimator that returns
predictions made beforehand, and their ratio, with all labels and with a fifth of them
missing (the loop then drops the rows without one). Both take turns; times are medians
over rounds.
"""

import argparse
import statistics
from collections.abc import Callable
from time import process_time
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn import metrics as sk

from skmtl.metrics import make_multitask_scorer

Array = NDArray[Any]


class Known:
    """An estimator whose predictions are made beforehand."""

    def __init__(self, proba: list[Array]) -> None:
        self.classes_ = [np.arange(p.shape[1], dtype=float) for p in proba]
        self._proba = proba
        self._labels = np.column_stack([p.argmax(axis=1) for p in proba]).astype(float)

    def predict(self, X: Any) -> Array:
        return self._labels

    def predict_proba(self, X: Any) -> list[Array]:
        return self._proba


def multiclass_auc(y: Array, P: Array) -> float:
    return float(sk.roc_auc_score(y, P, multi_class="ovr"))


def f1_macro(y: Array, labels: Array) -> float:
    return float(sk.f1_score(y, labels, average="macro"))


#: Scorer's name, bare function, number of classes, whether it is of probabilities.
CASES: list[tuple[str, Callable[..., float], int, bool]] = [
    ("accuracy", sk.accuracy_score, 4, False),
    ("balanced_accuracy", sk.balanced_accuracy_score, 4, False),
    ("f1_macro", f1_macro, 4, False),
    ("roc_auc", sk.roc_auc_score, 2, True),
    ("average_precision", sk.average_precision_score, 2, True),
    ("roc_auc_ovr", multiclass_auc, 4, True),
    ("neg_log_loss", sk.log_loss, 4, True),
]


def bare(function: Callable[..., float], Y: Array, of_tasks: list[Array]) -> float:
    """Return the mean of scores that a plain loop computes."""
    scores = []
    for y, predicted in zip(Y.T, of_tasks, strict=True):
        present = ~np.isnan(y)
        if present.all():
            scores.append(function(y, predicted))
        else:
            scores.append(function(y[present], predicted[present]))
    return float(np.mean(scores))


def seconds(call: Callable[[], float]) -> tuple[float, float]:
    """Return how long a call takes, and what it returns."""
    start = process_time()
    value = call()
    return process_time() - start, value


def measure(
    case: tuple[Any, ...], rows: int, tasks: int, missing: float, n: int
) -> str:
    """Return a line of the table."""
    name, function, n_classes, of_proba = case
    rng = np.random.default_rng(0)
    proba = [rng.dirichlet(np.ones(n_classes), rows) for _ in range(tasks)]
    Y = rng.integers(0, n_classes, (rows, tasks)).astype(float)
    Y[rng.random(Y.shape) < missing] = np.nan
    known, scorer = Known(proba), make_multitask_scorer(name)
    of_tasks = [p[:, 1] if n_classes == 2 else p for p in proba]
    of_tasks = of_tasks if of_proba else list(known.predict(None).T)
    plain, lifted = [], []
    for _ in range(n):
        t, expected = seconds(lambda: bare(function, Y, of_tasks))
        plain.append(t)
        t, value = seconds(lambda: scorer(known, None, Y))
        lifted.append(t)
        assert np.isclose(abs(value), abs(expected), rtol=1e-12)
    ratio = statistics.median(a / b for a, b in zip(lifted, plain, strict=True))
    a, b = statistics.median(plain), statistics.median(lifted)
    return f"{name:20} {missing:7.0%} {a:9.3f} {b:9.3f} {ratio:7.2f}"


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--rows", type=int, default=100_000)
    parser.add_argument("--tasks", type=int, default=20)
    parser.add_argument("--rounds", type=int, default=5)
    args = parser.parse_args()
    print(f"{args.rows} rows, {args.tasks} tasks; seconds")
    print(f"{'metric':20} {'missing':>7} {'bare':>9} {'scorer':>9} {'ratio':>7}")
    for missing in (0.0, 0.2):
        for case in CASES:
            print(measure(case, args.rows, args.tasks, missing, args.rounds))


if __name__ == "__main__":
    main()
