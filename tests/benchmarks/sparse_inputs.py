"""Accuracy and CPU time on texts of rare words, against logistic regression.

    python tests/benchmarks/sparse_inputs.py [--rows N] [--words N] [--rounds N]
        [--members N]

Texts are made: 40 words drawn by Zipf's law, and for each of four rare labels two of 50
words that tell it. Each round fits scikit-learn's logistic regression, one per label,
and skmtl on the same TF-IDF, and prints the area under the ROC curve of each label on
rows that neither has seen, CPU time of fit and predict_proba, and the ratio of times.
"""

import argparse
import statistics
import time

import numpy as np
from scipy import sparse
from sklearn.feature_extraction.text import TfidfTransformer
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.multioutput import MultiOutputClassifier

from skmtl import MultiTaskClassifier

SHARES = (0.2, 0.1, 0.05, 0.03)
PER_ROW, N_HINTS, FIRST_HINT = 40, 50, 1_000


def texts(n_rows: int, n_words: int, seed: int) -> tuple:
    """Return counts of words, and labels."""
    rng = np.random.default_rng(seed)
    p = 1 / np.arange(1, n_words + 1)
    Y = rng.random((n_rows, len(SHARES))) < SHARES
    drawn = rng.choice(n_words, (n_rows, PER_ROW), p=p / p.sum()).ravel()
    rows = [np.arange(n_rows).repeat(PER_ROW)]
    columns = [drawn]
    for t in range(len(SHARES)):
        rows.append(np.flatnonzero(Y[:, t]).repeat(2))
        hints = rng.integers(0, N_HINTS, len(rows[-1]))
        columns.append(FIRST_HINT + N_HINTS * t + hints)
    row, column = np.concatenate(rows), np.concatenate(columns)
    X = sparse.csr_array((np.ones(len(row)), (row, column)), (n_rows, n_words))
    return sparse.csr_array(X[:, np.unique(column)]), Y.astype(int)


def result(model: object, train: tuple, test: tuple) -> tuple[list[float], float]:
    """Return areas under the curve and CPU time."""
    start = time.process_time()
    P = model.fit(*train).predict_proba(test[0])
    spent = time.process_time() - start
    areas = [roc_auc_score(test[1][:, t], p[:, 1]) for t, p in enumerate(P)]
    return areas, spent


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=4_000)
    parser.add_argument("--words", type=int, default=20_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--members", nargs="*", default=["1", "auto"])
    args = parser.parse_args()
    ratios: dict[str, list[float]] = {}
    for seed in range(args.rounds):
        X, Y = texts(args.rows, args.words, seed)
        X = TfidfTransformer().fit_transform(X)
        train, test = (
            (X[part], Y[part])
            for part in (slice(0, 3 * len(Y) // 4), slice(3 * len(Y) // 4, None))
        )
        linear = MultiOutputClassifier(LogisticRegression(max_iter=300))
        areas, reference = result(linear, train, test)
        print(
            f"seed {seed}: logistic regression {np.round(areas, 3)} {reference:.2f} s"
        )
        for given in args.members:
            n_estimators = given if given == "auto" else int(given)
            model = MultiTaskClassifier(n_estimators=n_estimators, random_state=seed)
            areas, spent = result(model, train, test)
            ratios.setdefault(given, []).append(spent / reference)
            times = f"{spent:.2f} s, {spent / reference:.1f} times"
            print(f"seed {seed}: n_estimators={given} {np.round(areas, 3)} {times}")
    for given, values in ratios.items():
        print(f"n_estimators={given}: median ratio {statistics.median(values):.1f}")


if __name__ == "__main__":
    main()
