"""What the cells of a comparison say together."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.exceptions import FitFailedWarning, UndefinedMetricWarning

from skmtl._core.history import mean_of_known
from skmtl._core.printable import escape_text
from skmtl._core.validation import warn_user
from skmtl.model_selection._cells import FitFailure, FitResult

Array = NDArray[np.float64]

#: Letters of an error that are told of a fit that failed.
N_LETTERS = 300


def tell_failures(
    cells: Sequence[FitResult | FitFailure], names: Sequence[str]
) -> None:
    """Warn of fits that failed, and refuse to go on where all have.

    Parameters
    ----------
    cells : sequence of FitResult or FitFailure
        All candidates of the first split, then those of the second.
    names : sequence of str
        Names of the candidates.
    """
    reasons: dict[tuple[str, str], int] = {}
    for i, cell in enumerate(cells):
        if isinstance(cell, FitFailure):
            key = names[i % len(names)], _shorten(cell.reason)
            reasons[key] = reasons.get(key, 0) + 1
    if not reasons:
        return
    failed, told = (
        sum(reasons.values()),
        "\n".join(
            f"{escape_text(name)} ({count} times): {reason}"
            for (name, reason), count in reasons.items()
        ),
    )
    if failed == len(cells):
        raise ValueError(f"All {failed} fits of the comparison failed:\n{told}")
    warn_user(
        f"{failed} of {len(cells)} fits of the comparison failed, and have the score "
        f"'error_score':\n{told}",
        FitFailedWarning,
    )


def _shorten(words: str) -> str:
    """Return printable words, without their middle where they are many."""
    words = "\n".join(map(escape_text, words.split("\n")))
    if len(words) <= N_LETTERS:
        return words
    return f"{words[: N_LETTERS // 2]} … {words[-N_LETTERS // 2 :]}"


def gather_results(
    cells: Sequence[FitResult | FitFailure],
    n_candidates: int,
    n_tasks: int,
    error_score: float,
) -> dict[str, Array]:
    """Return what cells hold, by candidate.

    Parameters
    ----------
    cells : sequence of FitResult or FitFailure
        All candidates of the first split, then those of the second.
    n_candidates : int
        Number of candidates.
    n_tasks : int
        Number of tasks.
    error_score : float
        The scores of a fit that failed.

    Returns
    -------
    dict of ndarray
        Arrays of a `SharingComparison`.
    """
    failed = FitResult(np.full(n_tasks, error_score), np.nan, np.nan, np.nan)
    rows = [failed if isinstance(cell, FitFailure) else cell for cell in cells]
    scores, fit, predict, size = (
        np.array(values, dtype=np.float64)
        .reshape(-1, n_candidates, *shape)
        .swapaxes(0, 1)
        for values, shape in zip(
            zip(*rows, strict=True), [(n_tasks,), (), (), ()], strict=True
        )
    )
    return {
        "scores": scores,
        "fit_seconds": fit,
        "predict_seconds": predict,
        "n_parameters": mean_of_known(size, axis=1),
    }


def warn_undefined(scores: Array, task_names: Sequence[Any]) -> None:
    """Warn once of tasks that a split cannot score.

    Parameters
    ----------
    scores : ndarray of shape (n_candidates, n_splits, n_tasks)
        All scores.
    task_names : sequence
        Names of the tasks.
    """
    n_undefined = np.isnan(scores).all(axis=0).sum(axis=0)
    told = {name: int(n) for name, n in zip(task_names, n_undefined, strict=True) if n}
    if not told:
        return
    warn_user(
        f"Of {scores.shape[1]} splits some have too few labels of a task, or labels of "
        f"one class only, to score it, and are left out of its means: {told}.",
        UndefinedMetricWarning,
    )
