"""Heat maps: tasks against tasks, experts and models."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from skmtl._drawing.style import (
    GREY,
    SMALLEST,
    choose_ink,
    choose_letter_size,
    label_tasks,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes

#: Cells of a row up to which their values are written into them.
N_WRITTEN = 12

Array = NDArray[np.float64]


def choose_affinity_size(n_tasks: int) -> tuple[float, float]:
    """Return the size of a figure of a matrix between tasks."""
    cell = 0.45 if n_tasks <= N_WRITTEN else 0.22  # room for numbers, or for names
    side = max(3.2, min(cell * n_tasks, 24.0))
    return side + 3.0, side + 2.0


def draw_affinity(
    ax: "Axes",
    affinity: Array,
    names: Sequence[str],
    blocks: Sequence[int],
    label: str,
    cmap: str = "RdBu",
) -> tuple[Any, list[Any], list[Any]]:
    """Draw a matrix of tasks by tasks, with the diagonal hidden."""
    # Negative cells bear a minus sign, so that colours are not needed to tell them.
    # affinity of shape (n_tasks, n_tasks).
    shown = np.ma.masked_invalid(affinity)
    shown[np.diag_indices(len(affinity))] = np.ma.masked
    most = float(np.abs(shown.compressed()).max(initial=0.0))
    image = _draw_heat_map(ax, shown, cmap, (-most or -1.0, most or 1.0), label)
    texts = _write(ax, image, shown)
    if not texts:
        _mark_negative(ax, image, shown)
    _label(ax, names, names, rotation=45 if len(names) <= N_WRITTEN else 90)
    return image, texts, _draw_frames(ax, blocks) if len(blocks) > 1 else []


def _mark_negative(ax: "Axes", image: Any, values: Any) -> None:
    """Draw a minus sign into negative cells, so that it is told without colours."""
    rows, columns = np.nonzero((values < 0).filled(False))
    size = choose_letter_size(ax, len(values), 1) ** 2 / 2
    dark = image.norm(values[rows, columns]) < 0.2
    colors = np.where(dark, "white", "black")
    ax.scatter(columns, rows, s=size, c=colors, marker="_", linewidths=0.7)


def _draw_frames(ax: "Axes", blocks: Sequence[int]) -> list[Any]:
    """Put frames around groups of two or more."""
    from matplotlib.patches import Rectangle

    style = {
        "fill": False,
        "edgecolor": choose_ink(ax),
        "linewidth": 2,
        "clip_on": False,
    }
    starts = np.cumsum([0, *blocks[:-1]])
    return [
        ax.add_patch(Rectangle((start - 0.5, start - 0.5), size, size, **style))
        for start, size in zip(starts.tolist(), blocks, strict=True)
        if size > 1
    ]


def choose_usage_size(n_tasks: int, n_columns: int) -> tuple[float, float]:
    """Return the size of a figure of tasks and experts."""
    cell = 0.45 if n_columns <= N_WRITTEN else 0.25  # room for numbers, or for none
    width = max(2.5, min(cell * n_columns, 20.0))
    return width + 3.0, max(2.5, min(0.2 * n_tasks, 24.0)) + 1.0


def draw_usage(
    ax: "Axes", usage: Array, names: Sequence[str], cmap: str = "Greys"
) -> tuple[Any, list[Any]]:
    """Draw how much each task, a row, reads of each expert, a column."""
    # usage of shape (n_estimators, n_tasks, n_experts).
    n_estimators, _, n_experts = usage.shape
    flat = np.ma.masked_invalid(np.concatenate(list(usage), axis=1))
    image = _draw_heat_map(ax, flat, cmap, (0.0, 1.0), "mean weight of the gate")
    texts = _write(ax, image, flat)
    experts = [str(e) for e in range(n_experts)] * n_estimators
    _label(ax, names, experts, rotation=0)
    for m in range(1, n_estimators):
        ax.axvline(m * n_experts - 0.5, color=choose_ink(ax), linewidth=1.5)
    return image, texts


def draw_model_weights(
    ax: "Axes",
    weights: Array,
    tasks: Sequence[str],
    models: Sequence[str],
    cmap: str = "Greys",
) -> tuple[Any, list[Any]]:
    """Draw the weight of each model, a column, in each task, a row."""
    # weights of shape (n_tasks, n_models).
    values = np.ma.masked_invalid(weights)
    image = _draw_heat_map(ax, values, cmap, (0.0, 1.0), "weight of the model")
    texts = _write(ax, image, values)
    _label(ax, tasks, models, rotation=45)
    return image, texts


def _draw_heat_map(
    ax: Any, values: object, cmap: str, limits: tuple[float, float], label: str
) -> Any:
    """Draw a heat map with the scale of its colours beside it."""
    from matplotlib import colormaps
    from matplotlib.colors import to_rgb

    low, high = limits
    colors = colormaps[cmap].with_extremes(bad=(*to_rgb(GREY), 0.45))
    style = {"interpolation": "nearest", "aspect": "auto", "cmap": colors}
    image = ax.imshow(values, vmin=low, vmax=high, **style)
    ax.figure.colorbar(image, ax=ax, label=label, pad=0.03).outline.set_visible(False)
    return image


def _write(ax: "Axes", image: Any, values: Any) -> list[Any]:
    """Write the values into the cells, where they have room."""
    n_rows, n_columns = values.shape
    decimals = _count_decimals(np.abs(values.compressed()).max(initial=0.0))
    cells = np.argwhere(~np.ma.getmaskarray(values)).tolist()
    written = [f"{values[row, column]:z.{decimals}f}" for row, column in cells]
    # Names and the scale of the colours will take a part of the width.
    room = 0.6 * ax.bbox.width / ax.figure.dpi * 72 / n_columns
    size = min(
        choose_letter_size(ax, n_rows, 1),
        room / (0.62 * max(map(len, written), default=1)),
    )
    if n_columns > N_WRITTEN or size < SMALLEST:
        return []
    texts = []
    for (row, column), text in zip(cells, written, strict=True):
        red, green, blue, _ = image.to_rgba(values[row, column])
        dark = 0.299 * red + 0.587 * green + 0.114 * blue < 0.5
        style = {"color": "white" if dark else "black", "fontsize": size}
        texts.append(ax.text(column, row, text, ha="center", va="center", **style))
    return texts


def _count_decimals(most: float) -> int:
    """Return how many decimals tell values apart, two digits of the largest."""
    return int(np.clip(1 - np.floor(np.log10(most or 1.0)), 0, 8))


def _label(
    ax: "Axes", rows: Sequence[str], columns: Sequence[str], rotation: float
) -> None:
    """Name rows and columns, in type that fits."""
    size = choose_letter_size(ax, len(rows), 1)
    label_tasks(ax.yaxis, range(len(rows)), rows, fontsize=size)
    size = choose_letter_size(ax, len(columns), 0)
    style: dict[str, Any] = {"fontsize": size, "rotation": rotation}
    if rotation == 45:
        style |= {"ha": "right", "rotation_mode": "anchor"}
    label_tasks(ax.xaxis, range(len(columns)), columns, **style)
    ax.spines[:].set_visible(False)
