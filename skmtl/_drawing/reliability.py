"""Whether probabilities come true, one small picture per task."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from skmtl._drawing.losses import N_LARGE, make_panel_grid
from skmtl._drawing.style import GREY, HELPS, choose_ink, find_place, shorten_names

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Array = NDArray[np.float64]

#: Number of bars, which show how many rows have which probability.
N_BARS = 10


def choose_reliability_size(n_tasks: int) -> tuple[float, float]:
    """Return the size of a figure of reliability."""
    n_rows, n_columns = make_panel_grid(n_tasks)
    side = 2.6 if n_tasks <= N_LARGE else 1.5
    return max(side * n_columns, 5.0), side * n_rows + 0.7


def draw_reliability(
    ax: "Axes",
    prob_pred: Sequence[Array],
    prob_true: Sequence[Array],
    y_prob: Sequence[Array],
    names: Sequence[Any],
) -> tuple[list[Any], list[Any]]:
    """Draw a small picture per task instead of the axes."""
    # prob_pred, prob_true lists of shape (n_filled_bins,), y_prob lists of shape
    # (n_labelled,).
    n_rows, n_columns = make_panel_grid(len(names))
    small = len(names) > N_LARGE
    spec = find_place(ax, n_rows + 1, n_columns, [0.2, *[1] * n_rows])
    axes, lines = [], []
    for t, name in enumerate(shorten_names(names, 24 if small else 36)):
        row, column = divmod(t, n_columns)
        panel = ax.figure.add_subplot(spec[1 + row, column])
        edges = np.linspace(0, 1, N_BARS + 1)
        counts = np.histogram(y_prob[t], edges)[0] / max(len(y_prob[t]), 1)
        bars = panel.stairs(counts, edges, fill=True, color=GREY, alpha=0.4)
        (ideal,) = panel.plot([0, 1], [0, 1], ":", color=choose_ink(ax), linewidth=1)
        lines += panel.plot(
            *(prob_pred[t], prob_true[t]),
            "-o",
            color=HELPS,
            markersize=3 if small else 5,
        )
        _trim(panel, name, small, column == 0, t + n_columns >= len(names))
        axes.append(panel)
    key = {"observed": lines[0], "perfectly calibrated": ideal, "share of rows": bars}
    above = ax.figure.add_subplot(spec[0, :])
    above.set_axis_off()
    above.legend(key.values(), key, loc="center", ncols=len(key), frameon=False)
    return axes, lines


def _trim(panel: "Axes", name: str, small: bool, first: bool, last: bool) -> None:
    """Leave out what a small picture has no room for."""
    size = 7 if small else 10
    panel.set(xlim=(-0.02, 1.02), ylim=(-0.02, 1.02), aspect="equal")
    panel.set_title(name, fontsize=size, loc="left", parse_math=False)
    panel.set_xticks([0, 0.5, 1], ["0", "0.5", "1"])
    panel.set_yticks([0, 0.5, 1], ["0", "0.5", "1"])
    panel.tick_params(labelsize=size - 1, labelbottom=last, labelleft=first, length=2)
    panel.spines[["top", "right"]].set_visible(False)
    if last:
        panel.set_xlabel("predicted probability", fontsize=size)
    if first:
        panel.set_ylabel("share that came true", fontsize=size)
