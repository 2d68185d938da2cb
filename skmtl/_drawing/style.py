"""What all pictures have in common: colours, names that fit, axes of a fitting size."""

from collections import Counter
from collections.abc import Sequence
from typing import Any

from skmtl._core.printable import escape_text

#: Told apart also by those who see no red or no green; shapes and dashes go with them.
HELPS, HURTS, GREY = "#0b5cad", "#b54708", "#8a919b"
#: Colours of lines, with the two above first.
LINES = [
    HELPS,
    HURTS,
    "#1a7f37",
    "#8250df",
    "#6e5a00",
    "#a40e6e",
    "#00757f",
    "#57606a",
]
#: Length of names in pictures, and the sizes of their type in points.
N_LETTERS, SMALLEST, LARGEST = 36, 4.0, 10.0


def needs_matplotlib(caller: str) -> None:
    """Say what to install where matplotlib is missing."""
    try:
        import matplotlib  # noqa: F401
    except ImportError as error:
        raise ImportError(
            f"{caller} needs matplotlib: install it with `pip install 'skmtl[plot]'`."
        ) from error


def check_axes(ax: Any) -> None:
    """Raise an error unless it is axes or None."""
    from matplotlib.axes import Axes

    if ax is not None and not isinstance(ax, Axes):
        raise TypeError(
            "The 'ax' parameter must be axes of matplotlib, such as those of "
            f"matplotlib.pyplot.subplots(), or None. Got {ax!r}."
        )


def make_axes(width: float, height: float, *, fill: bool = False) -> Any:
    """Return axes in a new figure."""
    import matplotlib.pyplot as plt

    if fill:
        return plt.figure(figsize=(width, height)).add_axes((0, 0, 1, 1))
    return plt.subplots(figsize=(width, height), layout="constrained")[1]


def find_place(
    ax: Any,
    n_rows: int,
    n_columns: int,
    heights: list[float],
    widths: list[float] | None = None,
) -> Any:
    """Return a grid for other axes in the place of axes, which hide."""
    ax.set_axis_off()
    spec = ax.get_subplotspec()
    ratios = {"height_ratios": heights, "width_ratios": widths}
    if spec is not None:
        return spec.subgridspec(n_rows, n_columns, **ratios)
    box = ax.get_position()
    edges = {"left": box.x0, "right": box.x1, "bottom": box.y0, "top": box.y1}
    return ax.figure.add_gridspec(n_rows, n_columns, **ratios, **edges)


def choose_ink(ax: Any) -> Any:
    """Return the colour in which the style of a figure writes."""
    return ax.xaxis.label.get_color()


def choose_letter_size(ax: Any, n: int, axis: int) -> float:
    """Return the size of type, in points, of which n lines fit beside each other."""
    room = (ax.bbox.width, ax.bbox.height)[axis] / ax.figure.dpi * 72 / max(n, 1)
    return min(max(0.8 * room, SMALLEST), LARGEST)


def shorten_names(names: Sequence[Any], n_letters: int = N_LETTERS) -> list[str]:
    """Return names of one line that are not too long for a picture."""
    # Long ones lose their middle, for names of many tasks often start or end alike; but
    # no two names become the same.
    full = [escape_text(" ".join(str(name).split())) for name in names]
    cut = [_drop_middle(name, n_letters) for name in full]
    count = Counter(cut)
    return [c if count[c] == 1 else f for c, f in zip(cut, full, strict=True)]


def _drop_middle(name: str, n_letters: int) -> str:
    if len(name) <= n_letters:
        return name
    end = (n_letters - 1) // 2
    return f"{name[: n_letters - 1 - end].rstrip()}…{name[-end:].lstrip()}"


def label_tasks(axis: Any, positions: Any, names: Sequence[str], **text: Any) -> None:
    """Name ticks; a dollar sign in a name starts no formula."""
    axis.set_ticks(positions, names, parse_math=False, **text)
    axis.set_tick_params(length=0, which="both")
