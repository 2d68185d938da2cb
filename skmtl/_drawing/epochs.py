"""Weights and agreement of gradients by epoch: lines of few tasks, a map of many."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from skmtl._drawing.style import (
    LINES,
    choose_ink,
    choose_letter_size,
    find_place,
    label_tasks,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes

#: Tasks up to which lines can be told apart, by dashes and marks as by colours.
N_LINES = 8
DASHES = ["-", "--", "-.", ":"]
MARKS = ["o", "s", "^", "D", "v", "P", "X", "*"]

Array = NDArray[np.float64]


def choose_weights_size(n_tasks: int, n_pictures: int) -> tuple[float, float]:
    """Return the size of a figure of weights."""
    return 9.0, n_pictures * (0.6 + max(2.2, min(0.17 * n_tasks, 20.0)))


def draw_weights(
    ax: Any, weights: Array, cosines: Array | None, names: Sequence[str]
) -> tuple[list[Any], list[list[Any]]]:
    """Draw weights above the cosines of gradients."""
    # weights of shape (n_epochs, n_tasks), cosines of shape (n_epochs, n_tasks).
    low, high = np.nanmin(weights, initial=0.0), np.nanmax(weights, initial=2.0)
    if cosines is None:
        return [ax], [_draw(ax, weights, names, "weight", 1.0, (low, high))]
    spec = find_place(ax, 2, 1, [1.0, 1.0])
    axes = [ax.figure.add_subplot(spec[i, 0]) for i in range(2)]
    most = np.nanmax(np.abs(cosines), initial=1e-12)
    artists = [
        _draw(axes[0], weights, names, "weight", 1.0, (low, high)),
        _draw(axes[1], cosines, names, "mean cosine with others", 0.0, (-most, most)),
    ]
    if len(names) <= N_LINES:
        axes[1].get_legend().remove()
    return axes, artists


def _draw(
    ax: "Axes",
    values: Array,
    names: Sequence[str],
    label: str,
    reference: float,
    limits: tuple[float, float],
) -> list[Any]:
    ax.set_xlabel("epoch")
    if len(names) > N_LINES:
        return [_draw_heat_map(ax, values, names, label, limits)]
    return _draw_lines(ax, values, names, label, reference)


def _draw_lines(
    ax: Any, values: Array, names: Sequence[str], label: str, reference: float
) -> list[Any]:
    epochs = np.arange(1, len(values) + 1)
    ax.axhline(reference, color=choose_ink(ax), linewidth=0.8, alpha=0.5, zorder=1)
    step = max(1, len(epochs) // 8)
    lines = []
    for t, task in enumerate(values.T):
        style = {"color": LINES[t], "linestyle": DASHES[t % 4], "marker": MARKS[t]}
        where = (t * step // len(names), step)  # marks of tasks hide each other less
        lines += ax.plot(epochs, task, markersize=5, markevery=where, **style)
    legend = ax.legend(
        lines, names, loc="upper left", bbox_to_anchor=(1, 1), frameon=False
    )
    for text in legend.get_texts():
        text.set_parse_math(False)
    ax.set_ylabel(label)
    ax.locator_params(axis="x", integer=True)
    ax.spines[["top", "right"]].set_visible(False)
    return lines


def _draw_heat_map(
    ax: "Axes",
    values: Array,
    names: Sequence[str],
    label: str,
    limits: tuple[float, float],
) -> Any:
    low, high = limits
    image = ax.imshow(
        np.ma.masked_invalid(values.T),
        cmap="cividis",  # light and dark tell as much as its colours
        vmin=low,
        vmax=high,
        interpolation="nearest",
        aspect="auto",
        extent=(0.5, len(values) + 0.5, len(names) - 0.5, -0.5),
    )
    size = choose_letter_size(ax, len(names), 1)
    label_tasks(ax.yaxis, range(len(names)), names, fontsize=size)
    ax.locator_params(axis="x", integer=True)
    ax.spines[:].set_visible(False)
    ax.figure.colorbar(image, ax=ax, label=label, pad=0.02).outline.set_visible(False)
    return image
