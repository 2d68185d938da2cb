"""What sharing changes for each task, with intervals."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from skmtl._drawing.style import (
    GREY,
    HELPS,
    HURTS,
    choose_ink,
    choose_letter_size,
    label_tasks,
    shorten_names,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes

#: What sharing can do to a task: mark, colour, and whether the mark is filled.
KINDS = {
    "helps": ("o", HELPS, True),
    "no clear difference": ("D", GREY, False),
    "hurts": ("v", HURTS, True),
}

Array = NDArray[np.float64]


def choose_gains_size(n_tasks: int) -> tuple[float, float]:
    """Return the size of a figure of gains."""
    return 8.0, 1.3 + min(max(0.35 * n_tasks, 0.2 * n_tasks + 1.2), 30.0)


def draw_gains(
    ax: "Axes",
    gain: Array,
    interval: Array,
    hurts: NDArray[np.bool_],
    names: Sequence[Any],
    delta_m: float | None,
) -> tuple[list[int], list[Any], list[Any]]:
    """Draw a mark and an interval in each task's line, the largest gain on top."""
    # gain of shape (n_tasks,), interval of shape (n_tasks, 2), hurts of shape
    # (n_tasks,).
    order = np.argsort(-gain, kind="stable")
    gain, interval, hurts = gain[order], interval[order], hurts[order]
    helps = interval[:, 0] > 0
    kinds = np.where(hurts, "hurts", np.where(helps, "helps", "no clear difference"))
    size, lines = choose_letter_size(ax, len(names), 1), np.arange(len(names))
    ax.axvline(0, color=choose_ink(ax), linewidth=1)
    marks, intervals = [], []
    for line, kind in enumerate(kinds.tolist()):
        color = KINDS[kind][1]
        intervals += ax.plot(interval[line], [line, line], color=color, linewidth=1.5)
    for kind, (mark, color, filled) in KINDS.items():
        of_kind = kinds == kind
        if of_kind.any():
            points = ax.scatter(
                gain[of_kind],
                lines[of_kind],
                s=(0.9 * size) ** 2,
                marker=mark,
                facecolor=color if filled else ax.get_facecolor(),
                edgecolor=color,
                zorder=3,
                label=f"{kind} ({of_kind.sum()})",
            )
            marks.append(points)
    shown = shorten_names([names[t] for t in order])
    label_tasks(ax.yaxis, lines, shown, fontsize=size)
    _trim(ax, len(names), delta_m, len(marks))
    return order.tolist(), marks, intervals


def _trim(ax: "Axes", n_tasks: int, delta_m: float | None, n_kinds: int) -> None:
    label = "gain of the score from sharing, against separate networks"
    if delta_m is not None:
        label += f"\nmean relative gain Δm: {100 * delta_m:+.2g} %"
    ax.set_xlabel(label)
    ax.set_ylim(n_tasks - 0.4, -0.6)
    ax.grid(axis="y", color=choose_ink(ax), alpha=0.12)
    ax.set_axisbelow(True)
    ax.spines[["top", "right", "left"]].set_visible(False)
    ax.legend(
        title="Sharing …",
        loc="lower left",
        bbox_to_anchor=(0, 1),
        ncols=n_kinds,
        frameon=False,
        alignment="left",
    )
