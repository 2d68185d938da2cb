"""Pictures of tasks, drawn with matplotlib, which nothing here imports by itself."""

from skmtl._drawing.candidates import choose_candidates_size, draw_ranks, draw_scores
from skmtl._drawing.epochs import choose_weights_size, draw_weights
from skmtl._drawing.gains import choose_gains_size, draw_gains
from skmtl._drawing.graph import choose_graph_size, choose_pairs, draw_graph
from skmtl._drawing.losses import choose_losses_size, draw_losses
from skmtl._drawing.matrix import (
    choose_affinity_size,
    choose_usage_size,
    draw_affinity,
    draw_model_weights,
    draw_usage,
)
from skmtl._drawing.order import order_tasks
from skmtl._drawing.reliability import choose_reliability_size, draw_reliability
from skmtl._drawing.style import (
    GREY,
    HELPS,
    HURTS,
    LINES,
    check_axes,
    find_place,
    make_axes,
    needs_matplotlib,
    shorten_names,
)

__all__ = [
    "GREY",
    "HELPS",
    "HURTS",
    "LINES",
    "check_axes",
    "choose_affinity_size",
    "choose_candidates_size",
    "choose_gains_size",
    "choose_graph_size",
    "choose_losses_size",
    "choose_pairs",
    "choose_reliability_size",
    "choose_usage_size",
    "choose_weights_size",
    "draw_affinity",
    "draw_gains",
    "draw_graph",
    "draw_losses",
    "draw_model_weights",
    "draw_ranks",
    "draw_reliability",
    "draw_scores",
    "draw_usage",
    "draw_weights",
    "find_place",
    "make_axes",
    "needs_matplotlib",
    "order_tasks",
    "shorten_names",
]
