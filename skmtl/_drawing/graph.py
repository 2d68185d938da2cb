"""Who helps whom: tasks on a circle, and arrows between them."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from skmtl._drawing.style import HELPS, HURTS, LARGEST, choose_ink

if TYPE_CHECKING:
    from matplotlib.axes import Axes

#: Tasks up to which all arrows are shown, and up to which names stand upright.
N_ALL, N_UPRIGHT = 4, 12
#: Width of the widest arrow in points, for few tasks and for many.
WIDE, NARROW = 4.5, 2.0
#: Points below the graph, for what explains it.
BELOW = 50

Array = NDArray[np.float64]


def choose_pairs(affinity: Array, n_arrows: int | None = None) -> list[tuple[int, int]]:
    """Return the pairs of tasks whose effects to show, the largest first."""
    # affinity of shape (n_tasks, n_tasks).
    effect = np.nan_to_num(affinity)
    np.fill_diagonal(effect, 0)
    shown = effect != 0
    if n_arrows is None and len(effect) > N_ALL:
        best = (effect > 0) & (effect == effect.max(axis=0))
        worst = (effect < 0) & (effect == effect.min(axis=0))
        shown = best | worst
    size = np.where(shown, np.abs(effect), 0)
    order = np.argsort(-size, axis=None, kind="stable")[: shown.sum()][:n_arrows]
    rows, columns = np.unravel_index(order, size.shape)
    return list(zip(rows.tolist(), columns.tolist(), strict=True))


def choose_graph_size(n_tasks: int, n_letters: int) -> tuple[float, float]:
    """Return the size of a figure in which a graph is easy to read."""
    across = max(2.5, 0.1 * n_tasks)
    left, above = _measure_margins(n_tasks, n_letters)
    return across + 2 * left / 72, across + (2 * above + BELOW) / 72


def draw_graph(
    ax: Any,
    affinity: Array,
    names: Sequence[str],
    pairs: Sequence[tuple[int, int]],
    blocks: Sequence[int] = (),
) -> tuple[list[Any], list[Any]]:
    """Draw an arrow from who helps to whom; dashed where it hurts."""
    # affinity of shape (n_tasks, n_tasks).
    n_tasks = len(names)
    point = 1 / _set_frame(ax, n_tasks, max(map(len, names)))
    angles = _compute_angles(n_tasks, blocks)
    places = np.column_stack([np.sin(angles), np.cos(angles)])  # clockwise from the top
    write = _upright if n_tasks <= N_UPRIGHT else _outwards
    labels = [write(ax, name, place) for name, place in zip(names, places, strict=True)]
    most = max((abs(affinity[i, j]) for i, j in pairs), default=1.0)
    width = WIDE if n_tasks <= N_UPRIGHT else NARROW
    arrows = [  # the largest on top
        _draw_arrow(ax, places[[i, j]], affinity[i, j] / most, width, point)
        for i, j in reversed(pairs)
    ][::-1]
    ax.scatter(*places.T, s=16 * width, color=choose_ink(ax), zorder=3)
    _explain(ax, [affinity[i, j] for i, j in pairs], n_tasks)
    return arrows, labels


def _compute_angles(n_tasks: int, blocks: Sequence[int]) -> Array:
    """Return the places of tasks on the circle, with a gap after each group."""
    slots = np.arange(n_tasks, dtype=np.float64)
    n_slots = n_tasks
    if len(blocks) > 1 and n_tasks > N_ALL:
        slots += np.repeat(np.arange(len(blocks)), blocks)
        n_slots += len(blocks)
    return 2 * np.pi * slots / n_slots


def _upright(ax: "Axes", name: str, place: Array) -> Any:
    right, up = place
    across = "center" if abs(right) < 0.1 else "left" if right > 0 else "right"
    along = "center" if abs(up) < 0.95 else "bottom" if up > 0 else "top"
    return _write_text(ax, name, place, ha=across, va=along, fontsize=LARGEST)


def _outwards(ax: "Axes", name: str, place: Array) -> Any:
    right, up = place
    turn = np.degrees(np.arctan2(up, right))
    style = {"ha": "left", "rotation": turn}
    if right < 0:  # never upside down
        style = {"ha": "right", "rotation": turn + 180}
    return _write_text(ax, name, place, va="center", fontsize=0.8 * LARGEST, **style)


def _write_text(ax: Any, name: str, place: Array, **style: Any) -> Any:
    style |= {"rotation_mode": "anchor", "parse_math": False}
    return ax.annotate(
        name,
        place,
        9 * place,
        textcoords="offset points",
        annotation_clip=False,
        **style,
    )


def _draw_arrow(
    ax: "Axes", ends: Array, effect: float, widest: float, point: float
) -> Any:
    """Draw an arrow that bends inwards; effects lie between -1 and 1."""
    # The way back bends less than the way there.
    from matplotlib.patches import FancyArrowPatch
    from matplotlib.path import Path

    (x0, y0), (x1, y1) = ends
    bend = 0.45 if x1 * y0 > x0 * y1 else 0.8
    middle = bend * ends.mean(axis=0)
    gap = np.array([[5.0], [2.0 * np.sqrt(widest) + 2.5]]) * point  # not on the nodes
    inwards = middle - ends
    ends = ends + gap * inwards / np.linalg.norm(inwards, axis=1, keepdims=True)
    width = 0.5 + (widest - 0.5) * abs(effect)
    long, wide = 2 + widest / 2 + width, 1 + widest / 4 + width / 2
    return ax.add_patch(
        FancyArrowPatch(
            path=Path([ends[0], middle, ends[1]], [1, 3, 3]),
            arrowstyle=f"-|>,head_length={long},head_width={wide}",
            mutation_scale=1,
            linewidth=width,
            linestyle="solid" if effect > 0 else (0, (3, 1.5)),
            color=HELPS if effect > 0 else HURTS,
            alpha=0.4 + 0.6 * abs(effect),
            joinstyle="miter",
        )
    )


def _measure_margins(n_tasks: int, n_letters: int) -> tuple[float, float]:
    """Return how many points names need beside the circle and above it."""
    if n_tasks <= N_UPRIGHT:
        return 0.6 * LARGEST * n_letters + 20, 2 * LARGEST + 10
    label = 0.5 * LARGEST * n_letters + 20
    return label, label


def _set_frame(ax: "Axes", n_tasks: int, n_letters: int) -> float:
    """Leave room for the names and what is written below; return points per unit."""
    width, height = (size / ax.figure.dpi * 72 for size in ax.bbox.size)
    left, above = _measure_margins(n_tasks, n_letters)
    least = min(width, height) / 8
    radius = max(min(width / 2 - left, (height - BELOW) / 2 - above), least)
    ax.set_xlim(-width / 2 / radius, width / 2 / radius)
    ax.set_ylim(-(height + BELOW) / 2 / radius, (height - BELOW) / 2 / radius)
    ax.set_aspect("equal")
    ax.set_axis_off()
    return radius


def _explain(ax: "Axes", effects: Sequence[float], n_tasks: int) -> None:
    """Say below the graph what arrows mean, and how many there are."""
    from matplotlib.lines import Line2D

    n_help = sum(effect > 0 for effect in effects)
    n_hurt, n_pairs = len(effects) - n_help, n_tasks * (n_tasks - 1)
    key = {
        f"helps ({n_help})": Line2D([], [], color=HELPS, linewidth=2.5),
        f"hurts ({n_hurt})": Line2D(
            [], [], color=HURTS, linewidth=2.5, dashes=(3, 1.5)
        ),
    }
    widest = max((abs(effect) for effect in effects), default=0.0)
    legend = ax.legend(
        key.values(),
        key,
        title=f"{len(effects)} of {n_pairs} pairs; the widest arrow is {widest:.2g}",
        loc="lower center",
        ncols=2,
        frameon=False,
        handlelength=3,
    )
    legend.get_title().set_fontsize(LARGEST)
