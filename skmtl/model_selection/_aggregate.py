"""Results of all fits of a comparison as arrays, and warnings of what is lacking."""

from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.exceptions import FitFailedWarning, UndefinedMetricWarning

from skmtl._core.numerics import mean_of_known
from skmtl._core.printable import escape_text
from skmtl._core.validation import warn_user
from skmtl.model_selection._fit_and_score import FitFailure, FitResult

Array = NDArray[np.float64]

#: Letters of an error that a warning shows, at most.
N_LETTERS = 300


def warn_of_failures(
    results: Sequence[FitResult | FitFailure], names: Sequence[str]
) -> None:
    """Warn of fits that failed, and raise an error if all have."""
    # Results are those of all candidates on the first split, then on the second.
    reasons = Counter(
        (names[i % len(names)], _shorten(result.reason))
        for i, result in enumerate(results)
        if isinstance(result, FitFailure)
    )
    if not reasons:
        return
    n_failed = reasons.total()
    lines = "\n".join(
        f"{escape_text(name)} ({count} times): {reason}"
        for (name, reason), count in reasons.items()
    )
    if n_failed == len(results):
        raise ValueError(f"All {n_failed} fits of the comparison failed:\n{lines}")
    warn_user(
        f"{n_failed} of {len(results)} fits of the comparison failed, and have the "
        f"score 'error_score':\n{lines}",
        FitFailedWarning,
    )


def _shorten(words: str) -> str:
    """Return printable words, without their middle where they are many."""
    words = "\n".join(map(escape_text, words.split("\n")))
    if len(words) <= N_LETTERS:
        return words
    return f"{words[: N_LETTERS // 2]} … {words[-N_LETTERS // 2 :]}"


def aggregate_results(
    results: Sequence[FitResult | FitFailure],
    n_candidates: int,
    n_tasks: int,
    error_score: float,
) -> dict[str, Array]:
    """Return the arrays of a `SharingComparison`, by the names of its parameters."""
    failed = FitResult(np.full(n_tasks, error_score), np.nan, np.nan, np.nan)
    rows = [failed if isinstance(r, FitFailure) else r for r in results]
    arrays = {
        field: np.array(values, np.float64)
        .reshape(-1, n_candidates, *np.shape(values[0]))
        .swapaxes(0, 1)  # (n_candidates, n_splits) or (n_candidates, n_splits, n_tasks)
        for field, values in zip(
            FitResult._fields, zip(*rows, strict=True), strict=True
        )
    }
    arrays["n_parameters"] = mean_of_known(arrays["n_parameters"], axis=1)
    return arrays


def warn_unscored(scores: Array, task_names: Sequence[Any]) -> None:
    """Warn once of tasks that no candidate has a score of on some splits."""
    n_unscored = np.isnan(scores).all(axis=0).sum(axis=0)  # of (k, n_splits, n_tasks)
    counts = {name: int(n) for name, n in zip(task_names, n_unscored, strict=True) if n}
    if not counts:
        return
    warn_user(
        f"Of {scores.shape[1]} splits some have too few labels of a task, or labels of "
        f"one class only, to score it, and are left out of its means: {counts}.",
        UndefinedMetricWarning,
    )
