"""Plots of the benchmark of quality: ranks, differences, and scores against seconds."""

import itertools
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from matplotlib import pyplot as plt
from quality_report import METRICS, Metric, Results
from scipy.stats import studentized_range

COLOURS = {
    "LR": "#7f7f7f",
    "RF": "#2a9d5c",
    "ET": "#7fb069",
    "HGB": "#d98c1f",
    "XGBoost": "#b5452c",
    "LightGBM": "#c9a227",
    "CatBoost-joint": "#8c6bb1",
    "MLP": "#4fa3a5",
}
OURS = "#1f5fa8"
#: Heights of the labels of neighbours, so that they don't overlap.
HEIGHTS = (14, -14, 28, -28)
#: Larger differences are drawn at the edge.
LIMITS = {"points": 12.0, "%": 60.0}


def critical_difference(n_models: int, n_sets: int) -> float:
    """Return by how much mean ranks must differ: Nemenyi's test at 5 %.

    J. Demsar, "Statistical Comparisons of Classifiers over Multiple Data Sets",
    JMLR 2006.
    """
    q = studentized_range.ppf(0.95, n_models, np.inf) / np.sqrt(2)
    return float(q * np.sqrt(n_models * (n_models + 1) / (6 * n_sets)))


def rank_axis(ax: Any, metric: Metric, ranks: pd.DataFrame) -> None:
    """Draw mean ranks on a line, and the critical difference from the best."""
    means = ranks.mean().sort_values()
    width = critical_difference(ranks.shape[1], len(ranks))
    ax.plot([means.iloc[0], means.iloc[0] + width], [0, 0], color="#dddddd", lw=9)
    heights = itertools.cycle(HEIGHTS)
    for (model, rank), height in zip(means.items(), heights, strict=False):
        colour = COLOURS.get(model, OURS)
        ax.plot(rank, 0, "o", color=colour, ms=8)
        ax.annotate(
            f"{model} {rank:.2f}",
            (rank, 0),
            xytext=(0, height),
            textcoords="offset points",
            ha="center",
            va="center",
            color=colour,
        )
    n = ranks.shape[1]
    ax.set(xlim=(0.8, n + 0.2), ylim=(-1, 1), yticks=[], xticks=range(1, n + 1))
    ax.set_ylabel(f"{metric.label}\n{len(ranks)} sets", rotation=0, ha="right")
    ax.spines[["left", "right", "top"]].set_visible(False)


def ranks(results: Results, focus: str) -> Any:
    found = {}
    for metric in METRICS.values():
        # Mean ranks can be compared over the same sets only.
        scores = results.ranked(metric.name, focus).dropna(axis=1)
        if len(scores):
            found[metric] = metric.ranks(scores)
    figure, axes = plt.subplots(
        len(found),
        figsize=(8, 1.35 * len(found)),
        squeeze=False,
        sharex=True,
        layout="constrained",
    )
    for ax, (metric, values) in zip(axes[:, 0], found.items(), strict=True):
        rank_axis(ax, metric, values)
    axes[-1, 0].set_xlabel(
        "mean rank, 1 is best; grey: not different from the best (5 %)"
    )
    return figure


def difference_axis(ax: Any, metric: Metric, scores: pd.DataFrame, focus: str) -> None:
    """Draw each set's gains over the baselines; to the right is better."""
    limit = LIMITS[metric.unit]
    gains = pd.DataFrame(
        {
            b: metric.sign * metric.difference(scores[focus], scores[b])
            for b in scores.columns.drop(focus)
        }
    )
    gains = gains.loc[gains.min(axis=1).sort_values().index]
    ax.axvline(0, color="black", lw=0.8)
    rows = np.arange(len(gains))
    for model, values in gains.items():
        shown = values.clip(-limit, limit)
        ax.plot(shown, rows, "o", color=COLOURS[model], label=model, ms=6, alpha=0.85)
    ax.set(yticks=rows, yticklabels=gains.index, xlim=(-1.05 * limit, 1.05 * limit))
    ax.set_title(metric.label, loc="left")
    ax.set_xlabel(f"{focus} better by, {metric.unit} (at most {limit:g})")
    ax.grid(axis="both", color="#eeeeee")
    ax.set_axisbelow(True)
    ax.spines[["right", "top"]].set_visible(False)


def differences(results: Results, focus: str) -> Any:
    found = {}
    for metric in (METRICS["auc"], METRICS["log_loss"], METRICS["arrmse"]):
        scores = results.ranked(metric.name, focus)
        if len(scores):
            found[metric] = scores
    width = 4.2 * len(found)
    figure, axes = plt.subplots(
        1, len(found), figsize=(width, 4.6), squeeze=False, layout="constrained"
    )
    for ax, (metric, scores) in zip(axes[0], found.items(), strict=True):
        difference_axis(ax, metric, scores, focus)
    handles, labels = axes[0, 0].get_legend_handles_labels()
    figure.legend(handles, labels, frameon=False, ncols=4, loc="outside upper center")
    return figure


def time_axis(ax: Any, metric: Metric, results: Results, focus: str) -> None:
    """Draw mean scores against geometric means of seconds, on the same sets."""
    # Models that lack sets would take those from the others.
    n_sets = len(results.ranked(metric.name, focus))
    models = [
        m
        for m in results.models
        if (m in COLOURS or m.startswith(("skmtl", focus)))
        and len(results.table(metric.name, [focus, m])) >= n_sets
    ]
    scores = results.table(metric.name, models)
    times = results.table("fit_s", models).loc[scores.index]
    for model in models:
        at = float(np.exp(np.log(times[model]).mean())), float(scores[model].mean())
        colour = COLOURS.get(model, OURS)
        ax.plot(*at, "o", color=colour, ms=9 if model == focus else 6)
        ax.annotate(model, at, xytext=(6, 4), textcoords="offset points", color=colour)
    ax.set(xscale="log", xlabel="seconds to fit, geometric mean over sets")
    ax.set_title(f"{metric.label}, mean of {len(scores)} sets", loc="left")
    ax.margins(0.18)
    if metric.sign < 0:
        ax.invert_yaxis()
    ax.grid(color="#eeeeee")
    ax.spines[["right", "top"]].set_visible(False)


def times(results: Results, focus: str) -> Any:
    shown = [METRICS[name] for name in ("auc", "arrmse")]
    shown = [m for m in shown if len(results.ranked(m.name, focus))]
    figure, axes = plt.subplots(
        1,
        len(shown),
        figsize=(4.8 * len(shown), 4),
        squeeze=False,
        layout="constrained",
    )
    for ax, metric in zip(axes[0], shown, strict=True):
        time_axis(ax, metric, results, focus)
    return figure


def draw(results: Results, focus: str, folder: Path) -> None:
    """Write all plots to a folder, where a set has all models."""
    if all(results.ranked(metric.name, focus).empty for metric in METRICS.values()):
        print("No set has all models of a plot.")
        return
    plt.switch_backend("agg")
    plots = {"ranks": ranks, "differences": differences, "seconds": times}
    for name, plot in plots.items():
        figure = plot(results, focus)
        figure.savefig(folder / f"{name}.png", dpi=110)
        plt.close(figure)
