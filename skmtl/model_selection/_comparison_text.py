"""A comparison as text and as HTML; candidates in the order of their ranks."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from skmtl._drawing import shorten_names
from skmtl._drawing.html import join_markup, make_paragraph, make_table
from skmtl.model_selection._ranks import order_by_rank

if TYPE_CHECKING:
    from skmtl.model_selection._comparison import SharingComparison


def format_text(comparison: SharingComparison) -> str:
    """Return a line of scores, gains and ranks per candidate."""
    header = ("", "score", "delta_m", "rank")
    names, order = shorten_names(comparison.names), order_by_rank(comparison.mean_ranks)
    rows = [
        header,
        *((names[i], *_format_cells(comparison, i)) for i in order),
    ]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = [
        "  ".join(
            [row[0].ljust(widths[0]), *map(str.rjust, row[1:], widths[1:])]
        ).rstrip()
        for row in rows
    ]
    return "\n".join(
        [_format_title(comparison), *lines, *_format_difference(comparison)]
    )


def format_html(comparison: SharingComparison) -> str:
    """Return a table of the candidates, and one of the scores of each task."""
    c, columns = comparison, comparison._columns()
    order = order_by_rank(c.mean_ranks)
    header = ["", "score", "Δm", "mean rank", "fit s", "predict s", "parameters"]
    sizes = [None if np.isnan(n) else round(n) for n in c.n_parameters]
    seconds = np.stack([columns["fit_seconds"][:, 0], columns["predict_seconds"][:, 0]])
    rows = [[c.names[i], *_format_cells(c, i), *seconds[:, i], sizes[i]] for i in order]
    scores = columns["score"]
    tasks = [
        [name, *(scores[i, t] for i in order)] for t, name in enumerate(c.task_names)
    ]
    return str(
        join_markup(
            make_table(_format_title(c), header, rows),
            *map(make_paragraph, _format_difference(c)),
            make_table("Score of each task", ["", *(c.names[i] for i in order)], tasks),
        )
    )


def _format_title(c: SharingComparison) -> str:
    """Return the line above the table."""
    _, n_splits, n_tasks = c.scores.shape
    return (
        f"SharingComparison of {len(c.names)} candidates with {c.baseline!r}: "
        f"{n_tasks} tasks, {n_splits} splits, {100 * c.confidence:g} % intervals"
    )


def _format_difference(c: SharingComparison) -> list[str]:
    """Return the line on the critical difference, if there is one."""
    difference = c.critical_difference
    if np.isnan(difference):
        return []
    return [f"Mean ranks that differ by less than {difference:.2f} say nothing."]


def _format_cells(c: SharingComparison, i: int) -> tuple[str, str, str]:
    """Return score, gain and rank of a candidate in words."""
    score, (low, high) = c.mean_scores[i], c.mean_scores_interval[i]
    gain, (gain_low, gain_high) = c.delta_m[i], c.delta_m_interval[i]
    gain_text = f"{gain:+.1%} [{gain_low:+.1%}, {gain_high:+.1%}]"
    return (
        f"{score:.4f} [{low:.4f}, {high:.4f}]",
        "baseline" if c.names[i] == c.baseline else gain_text,
        f"{c.mean_ranks[i]:.2f}",
    )
