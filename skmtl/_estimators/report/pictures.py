"""Pictures as SVG inside of a page: they follow its colours and its type."""

import re
import warnings
from collections.abc import Callable
from html import escape
from io import StringIO
from typing import Any

from skmtl._drawing import GREY, LINES
from skmtl._drawing.html import Markup

#: Colours of the pictures, and names that the page gives them by day and by night.
INK, PAPER = "#1f2329", "#fefefe"
COLORS = {
    INK: "--ink",
    PAPER: "--paper",
    GREY: "--grey",
    **{color: f"--line-{i}" for i, color in enumerate(LINES)},
}

STYLE = {
    "svg.fonttype": "none",  # text that can be read, searched and copied
    "text.color": INK,
    "axes.labelcolor": INK,
    "axes.titlecolor": INK,
    "axes.edgecolor": INK,
    "xtick.color": INK,
    "ytick.color": INK,
    "axes.facecolor": PAPER,
    "figure.facecolor": "none",
}


def draw_picture(
    draw: Callable[[Any], Any],
    size: tuple[float, float],
    description: str,
    *,
    fill: bool = False,
) -> Markup:
    """Return a drawing as SVG."""
    import matplotlib
    from matplotlib.figure import Figure

    style: Any = {k: v for k, v in matplotlib.rcParamsDefault.items() if k != "backend"}
    style |= {**STYLE, "svg.hashsalt": description}
    with matplotlib.rc_context(style), warnings.catch_warnings():
        # The browser has letters that matplotlib's own type lacks.
        warnings.filterwarnings("ignore", r"Glyph .* missing from")
        figure = Figure(figsize=size, layout=None if fill else "constrained")
        draw(figure.add_axes((0, 0, 1, 1)) if fill else figure.add_subplot())
        buffer = StringIO()
        figure.savefig(buffer, format="svg", dpi=150)
    return _inline_svg(buffer.getvalue(), description)


def _inline_svg(svg: str, description: str) -> Markup:
    """Return the picture without what only a file of its own needs."""
    svg = svg[svg.index("<svg") :]
    svg = re.sub(r"(?s)<metadata>.*?</metadata>|<style.*?</style>", "", svg)
    svg = re.sub(r'<g id="[^"]*"', "<g", svg)  # the same in all pictures of a page
    for color, name in COLORS.items():
        svg = svg.replace(f": {color}", f": var({name})")
    start = f'<svg role="img" aria-label="{escape(description)}"'
    return Markup(svg.replace("<svg", start, 1))
