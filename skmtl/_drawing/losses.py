"""The losses of each task over the epochs, one small picture per task."""

from collections.abc import Sequence
from math import ceil, sqrt
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from skmtl._drawing.style import HELPS, HURTS, choose_ink, find_place, shorten_names

if TYPE_CHECKING:
    from matplotlib.axes import Axes

#: Tasks up to which pictures are large.
N_LARGE = 9

Array = NDArray[np.float64]


def make_panel_grid(n_tasks: int) -> tuple[int, int]:
    """Return numbers of rows and columns, with few empty places."""
    if n_tasks <= N_LARGE:
        columns = [min(n_tasks, 3)]
    else:
        columns = list(range(ceil(sqrt(0.6 * n_tasks)), ceil(sqrt(n_tasks)) + 1))
    best = min(columns, key=lambda n: -n_tasks % n)
    return ceil(n_tasks / best), best


def choose_losses_size(n_tasks: int) -> tuple[float, float]:
    """Return the size of a figure of losses."""
    n_rows, n_columns = make_panel_grid(n_tasks)
    width, height = (3.0, 2.1) if n_tasks <= N_LARGE else (1.75, 1.25)
    return max(width * n_columns, 6.0), height * n_rows + 0.6


def draw_losses(
    ax: "Axes",
    train: Array,
    valid: Array,
    names: Sequence[Any],
    best_epoch: int | None,
) -> tuple[list[Any], list[Any]]:
    """Draw a small picture per task instead of the axes."""
    # train, valid of shape (n_epochs, n_tasks).
    n_rows, n_columns = make_panel_grid(len(names))
    small = len(names) > N_LARGE
    spec = find_place(ax, n_rows + 1, n_columns, [0.25, *[1] * n_rows])
    axes, trained, validated = [], [], []
    epochs = np.arange(1, len(train) + 1)
    for t, name in enumerate(shorten_names(names, 24 if small else 36)):
        panel = ax.figure.add_subplot(spec[1 + t // n_columns, t % n_columns])
        _trim(panel, name, small, t + n_columns >= len(names))
        trained.append(
            _draw_line(panel, epochs, train[:, t], choose_ink(ax), "--", 1.0)
        )
        if np.isfinite(valid).any():
            validated.append(_draw_line(panel, epochs, valid[:, t], HELPS, "-", 2.0))
        if best_epoch is not None:
            best = panel.axvline(best_epoch, color=HURTS, linestyle=":", linewidth=1.5)
        axes.append(panel)
    key = {"training": trained[0]}
    if validated:
        key["validation"] = validated[0]
    if best_epoch is not None:
        key[f"lowest validation loss: epoch {best_epoch}"] = best
    above = ax.figure.add_subplot(spec[0, :])
    above.set_axis_off()
    above.legend(key.values(), key, loc="center", ncols=len(key), frameon=False)
    return axes, trained + validated


def _trim(panel: "Axes", name: str, small: bool, last: bool) -> None:
    """Leave out what a small picture has no room for."""
    size = 7 if small else 10
    panel.set_title(name, fontsize=size, loc="left", parse_math=False)
    panel.tick_params(labelsize=size - 1, labelbottom=last, length=2)
    panel.locator_params(axis="x", nbins=3, integer=True)
    panel.locator_params(axis="y", nbins=3)
    panel.spines[["top", "right"]].set_visible(False)
    if last:
        panel.set_xlabel("epoch", fontsize=size)


def _draw_line(
    panel: "Axes", epochs: Any, losses: Array, color: Any, dashes: str, width: float
) -> Any:
    (line,) = panel.plot(epochs, losses, color=color, linestyle=dashes, linewidth=width)
    if np.isfinite(losses).sum() == 1:  # no line
        line.set_marker("o")
    return line
