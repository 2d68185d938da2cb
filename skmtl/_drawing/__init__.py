"""Pictures of tasks, drawn with matplotlib, which nothing here imports by itself."""

from skmtl._drawing.candidates import candidates_size, draw_ranks, draw_scores
from skmtl._drawing.epochs import draw_weights, weights_size
from skmtl._drawing.gains import draw_gains, gains_size
from skmtl._drawing.graph import chosen_pairs, draw_graph, graph_size
from skmtl._drawing.losses import draw_losses, losses_size
from skmtl._drawing.matrix import (
    affinity_size,
    draw_affinity,
    draw_usage,
    usage_size,
)
from skmtl._drawing.order import order_tasks
from skmtl._drawing.reliability import draw_reliability, reliability_size
from skmtl._drawing.style import (
    GREY,
    HELPS,
    HURTS,
    LINES,
    check_axes,
    needs_matplotlib,
    new_axes,
    place_of,
    short_names,
)

__all__ = [
    "GREY",
    "HELPS",
    "HURTS",
    "LINES",
    "affinity_size",
    "candidates_size",
    "check_axes",
    "chosen_pairs",
    "draw_affinity",
    "draw_gains",
    "draw_graph",
    "draw_losses",
    "draw_ranks",
    "draw_reliability",
    "draw_scores",
    "draw_usage",
    "draw_weights",
    "gains_size",
    "graph_size",
    "losses_size",
    "needs_matplotlib",
    "new_axes",
    "order_tasks",
    "place_of",
    "reliability_size",
    "short_names",
    "usage_size",
    "weights_size",
]
