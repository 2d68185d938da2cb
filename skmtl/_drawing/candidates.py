"""Candidates with their scores and their ranks, side by side."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from skmtl._drawing.gains import KINDS
from skmtl._drawing.style import (
    GREY,
    choose_ink,
    choose_letter_size,
    label_tasks,
    shorten_names,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Array = NDArray[np.float64]

#: How a candidate compares with the baseline: mark, colour, and whether it is filled.
AGAINST = {
    "better": KINDS["helps"],
    "no clear difference": KINDS["no clear difference"],
    "worse": KINDS["hurts"],
    "baseline": ("s", GREY, True),
}


def choose_candidates_size(n_candidates: int) -> tuple[float, float]:
    """Return the size of a figure of candidates."""
    return 9.5, 1.6 + min(0.35 * max(n_candidates, 3), 30.0)


def draw_scores(
    ax: "Axes",
    score: Array,
    interval: Array,
    kinds: Sequence[str],
    names: Sequence[str],
) -> tuple[list[Any], list[Any]]:
    """Draw a mark and an interval in each candidate's line."""
    # score of shape (n_candidates,), interval of shape (n_candidates, 2).
    size, lines = choose_letter_size(ax, len(names), 1), np.arange(len(names))
    of_kind = {kind: [k == kind for k in kinds] for kind in AGAINST}
    if any(of_kind["baseline"]):
        line = float(score[of_kind["baseline"]][0])
        ax.axvline(line, color=choose_ink(ax), linewidth=1, linestyle=(0, (4, 3)))
    intervals, marks = [], []
    for line, kind in enumerate(kinds):
        color = AGAINST[kind][1]
        intervals += ax.plot(interval[line], [line, line], color=color, linewidth=1.5)
    for kind, chosen in of_kind.items():
        if any(chosen):
            mark, color, filled = AGAINST[kind]
            points = ax.scatter(
                score[chosen],
                lines[chosen],
                s=(0.9 * size) ** 2,
                marker=mark,
                facecolor=color if filled else ax.get_facecolor(),
                edgecolor=color,
                zorder=3,
                label=kind,
            )
            marks.append(points)
    label_tasks(ax.yaxis, lines, shorten_names(names), fontsize=size)
    _explain(ax, len(marks))
    _trim(ax, len(names))
    return marks, intervals


def _explain(ax: "Axes", n_kinds: int) -> None:
    ax.legend(
        title="Against the baseline …",
        loc="lower left",
        bbox_to_anchor=(0, 1),
        ncols=n_kinds,
        frameon=False,
        alignment="left",
        handletextpad=0.2,
        columnspacing=1.0,
    )


def draw_ranks(ax: Any, ranks: Array, critical_difference: float) -> tuple[Any, Any]:
    """Draw the mean rank of each candidate, and how far a rank may be from the best."""
    # A mark is filled where the rank is no further from the best one than the critical
    # difference, the length of the bar on top.
    # ranks of shape (n_candidates,).
    n, lines, bar = len(ranks), np.arange(len(ranks)), None
    best = np.nanmin(ranks)
    color, paper = choose_ink(ax), ax.get_facecolor()
    near = ~(ranks - best > critical_difference)
    if not np.isnan(critical_difference):
        ends = [best, best + critical_difference]
        (bar,) = ax.plot(
            ends, [-0.75, -0.75], color=color, linewidth=2, marker="|", markersize=9
        )
        ax.axvspan(*ends, color=color, alpha=0.07, linewidth=0)
        ax.set_title(f"critical difference {critical_difference:.2f}", loc="left")
    ax.hlines(lines, best, ranks, color=color, alpha=0.4, linewidth=1)
    marks = ax.scatter(
        ranks,
        lines,
        s=(0.8 * choose_letter_size(ax, n, 1)) ** 2,
        facecolor=[color if yes else paper for yes in near],
        edgecolor=color,
        zorder=3,
    )
    ax.set_xlim(left=0.8)
    ax.set_xlabel("mean rank (1 is best)\nfilled: no clear difference to the best")
    ax.xaxis.get_major_locator().set_params(integer=True)
    label_tasks(ax.yaxis, lines, [""] * n)
    ax.title.set_fontsize(ax.xaxis.label.get_fontsize())
    _trim(ax, n)
    return marks, bar


def _trim(ax: "Axes", n: int) -> None:
    ax.set_ylim(n - 0.4, -1.1)
    ax.grid(axis="y", color=choose_ink(ax), alpha=0.12)
    ax.set_axisbelow(True)
    ax.spines[["top", "right", "left"]].set_visible(False)
