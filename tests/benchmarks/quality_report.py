"""Tables of the benchmark of quality: ranks, differences and goals, as text and rst."""

import platform
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import sklearn
import torch
from quality_scores import COVERAGES
from scipy.stats import bootstrap

import skmtl

#: Models that are ranked beside the focus: those of scikit-learn on every set, others
#: where they are installed and take a set's tasks.
ALWAYS = ("LR", "RF", "ET", "HGB")
BASELINES = (*ALWAYS, "XGBoost", "LightGBM", "CatBoost-joint")
SEPARATE = "skmtl-separate"
OTHERS = (
    *(*BASELINES, "MLP", "TabM", "RealMLP", "XGBoost-joint"),
    *("skmtl-stack", SEPARATE),
)

Cells = list[dict[str, Any]]

COLUMNS = ["set", "model", "seed", "fit_s", "predict_s", "n_train", "n_tasks"]
REGIONS = [
    f"{kind}_{percent}{what}"
    for kind in ("sets", "intervals")
    for percent in COVERAGES
    for what in ("", "_size")
]


@dataclass(frozen=True)
class Metric:
    """A score, and how two of its values are compared.

    Attributes
    ----------
    sign : {1, -1}
        Whether more is better, or less.
    relative : bool
        Whether differences are in percent of the other value, or in hundredths.
    """

    name: str
    label: str
    sign: int = 1
    relative: bool = False

    @property
    def unit(self) -> str:
        return "%" if self.relative else "points"

    def difference(self, a: Any, b: Any) -> Any:
        """Return by how much a is above b."""
        return 100 * (a / b - 1 if self.relative else a - b)

    def ranks(self, scores: pd.DataFrame) -> pd.DataFrame:
        """Return the ranks of models on each set; the best has 1."""
        return scores.round(4).rank(axis=1, ascending=self.sign < 0)

    def best(self, scores: pd.DataFrame) -> pd.Series:
        return scores.max(axis=1) if self.sign > 0 else scores.min(axis=1)


METRICS = {
    metric.name: metric
    for metric in (
        Metric("auc", "AUC"),
        Metric("accuracy", "accuracy"),
        Metric("ap", "average precision"),
        Metric("log_loss", "log-loss", -1, True),
        Metric("calibration_error", "calibration error", -1),
        Metric("arrmse", "aRRMSE", -1, True),
    )
}


@dataclass
class Table:
    title: str
    head: list[str]
    rows: list[list[str]]
    note: str = ""

    def text(self) -> str:
        table = [self.head, *self.rows]
        widths = [max(map(len, column)) for column in zip(*table, strict=True)]
        lines = ["| " + " | ".join(map(str.ljust, row, widths)) + " |" for row in table]
        lines.insert(1, "|" + "|".join("-" * (w + 2) for w in widths) + "|")
        return "\n".join([f"\n{self.title}\n", *lines, self.note])

    def rst(self) -> str:
        def line(row: list[str]) -> str:
            return "   " + ", ".join(f'"{cell}"' for cell in row)

        head = [f".. csv-table:: {self.title}", f"   :header: {line(self.head)[3:]}"]
        return "\n".join([*head, "", *map(line, self.rows), "", self.note, ""])


@dataclass
class Results:
    """Scores and seconds of cells that worked."""

    cells: Cells
    frame: pd.DataFrame = field(init=False)

    def __post_init__(self) -> None:
        worked = [cell for cell in self.cells if "error" not in cell]
        columns = [*COLUMNS, *METRICS, *REGIONS]
        self.frame = pd.DataFrame(worked).reindex(columns=columns)

    @property
    def models(self) -> list[str]:
        return list(dict.fromkeys(cell["model"] for cell in self.cells))

    def table(self, value: str, models: Sequence[str]) -> pd.DataFrame:
        """Return means over the seeds that all models have; sets are the rows."""
        wide = self.frame.pivot_table(value, ["set", "seed"], "model")
        return wide.reindex(columns=models).dropna().groupby("set").mean()

    @property
    def baselines(self) -> list[str]:
        return [name for name in BASELINES if name in self.models]

    def ranked(self, value: str, focus: str) -> pd.DataFrame:
        """Return means of a focus and the baselines, NaN of those that lack a seed."""
        models = [focus, *self.baselines]
        needed = [focus, *(name for name in ALWAYS if name in self.models)]
        wide = self.frame.pivot_table(value, ["set", "seed"], "model")
        wide = wide.reindex(columns=models).dropna(subset=needed)
        lacking = wide.isna().groupby("set").any()
        return wide.groupby("set").mean().mask(lacking)

    def missing(self, models: Sequence[str]) -> list[str]:
        """Say what failed."""
        failed = {
            f"{cell['model']} on {cell['set']}: {cell['error'].splitlines()[0]}"
            for cell in self.cells
            if "error" in cell and cell["model"] in models
        }
        return sorted(failed)


def interval(values: Any, of: Callable[..., Any] = np.mean) -> tuple[float, float]:
    """Return the 95 % bootstrap interval over sets."""
    if len(values) < 2 or np.ptp(values) == 0:
        return np.nan, np.nan
    found = bootstrap((values,), of, method="percentile", rng=0, n_resamples=5000)
    return tuple(found.confidence_interval)


def spread(values: Any, digits: int = 2) -> str:
    """Show a mean over sets with its interval."""
    low, high = interval(values)
    around = f" ({low:.{digits}f} to {high:.{digits}f})" if np.isfinite(low) else ""
    return f"{np.mean(values):.{digits}f}{around}"


@dataclass
class Goal:
    """A number that is to be at most, or at least, what the goals say.

    Attributes
    ----------
    values : array
        One per set; None where the number is of all sets together.
    """

    label: str
    value: float
    values: Any = None
    must: float | None = None
    aim: float | None = None
    most: bool = True

    def met(self, goal: float | None) -> str:
        if goal is None or not np.isfinite(self.value):
            return ""
        good = self.value <= goal if self.most else self.value >= goal
        return f"{goal:g}: {'met' if good else 'NOT met'}"

    def row(self) -> list[str]:
        low, high = (np.nan,) * 2 if self.values is None else interval(self.values)
        around = f"{low:.2f} to {high:.2f}" if np.isfinite(low) else ""
        n_sets = "" if self.values is None else str(len(self.values))
        cells = [self.label, n_sets, f"{self.value:.2f}", around]
        return [*cells, self.met(self.must), self.met(self.aim)]


#: Mean ranks that must be reached, and those to aim at.
RANKS = {
    "auc": (2.2, 1.6),
    "accuracy": (1.7, 1.3),
    "ap": (2.4, 1.8),
    "log_loss": (1.3, 1.1),
    "calibration_error": (None, None),
    "arrmse": (1.9, 1.5),
}


def rank_goals(results: Results, focus: str) -> Iterator[Goal]:
    for metric in METRICS.values():
        scores = results.ranked(metric.name, focus)
        ranks = metric.ranks(scores)[focus].to_numpy()
        label = f"mean rank of {scores.shape[1]}: {metric.label}"
        value = ranks.mean() if len(ranks) else np.nan
        yield Goal(label, value, ranks, *RANKS[metric.name])


def gain_goals(results: Results, focus: str) -> Iterator[Goal]:
    auc = METRICS["auc"]
    goals = (("RF", 1.0, 2.0), ("ET", 1.0, 2.0), ("CatBoost-joint", 0.0, 1.0))
    for other, must, aim in goals:
        scores = results.table("auc", [focus, other])
        gains = auc.difference(scores[focus], scores[other]).to_numpy()
        value = gains.mean() if len(gains) else np.nan
        yield Goal(f"AUC over {other}, points", value, gains, must, aim, most=False)


def worst_goals(results: Results, focus: str) -> Iterator[Goal]:
    for metric, must, aim in ((METRICS["auc"], 4, 2), (METRICS["arrmse"], 12, 5)):
        scores = results.ranked(metric.name, focus)
        if scores.empty:
            continue
        best = metric.best(scores[results.baselines])
        losses = -metric.sign * metric.difference(scores[focus], best)
        where = f"{metric.label} of {losses.idxmax()} behind the best baseline"
        yield Goal(f"{where}, {metric.unit}", losses.max(), None, must, aim)


def time_goals(results: Results, focus: str) -> Iterator[Goal]:
    seconds = results.table("fit_s", [focus, "HGB"])
    if seconds.empty:
        return
    ours, theirs = seconds[focus].sum(), seconds["HGB"].sum()
    label = f"total fit seconds, {ours:.0f} to {theirs:.0f} of HGB"
    yield Goal(label, ours / theirs, None, 1.0, 0.5)
    logs = np.log(seconds[focus] / seconds["HGB"])
    yield Goal("fit seconds to HGB's, geometric mean", np.exp(logs.mean()))


def goals(results: Results, focus: str) -> Table:
    parts = (rank_goals, gain_goals, worst_goals, time_goals)
    rows = [goal.row() for part in parts for goal in part(results, focus)]
    head = ["measure", "sets", "value", "95 %", "must", "aim"]
    return Table(f"Goals of {focus}", head, rows)


def mean_ranks(results: Results, focus: str) -> Table:
    rows = []
    models = [focus, *results.baselines]
    for metric in METRICS.values():
        scores = results.ranked(metric.name, focus)
        ranks = metric.ranks(scores)
        cells = [
            "" if ranks[m].isna().all() else spread(ranks[m].dropna()) for m in models
        ]
        rows.append([metric.label, str(len(scores)), *cells])
    return Table("Mean ranks", ["score", "sets", *models], rows)


def against(results: Results, focus: str) -> Table:
    """Compare the focus with each other model on the sets that both have."""
    rows = []
    for other in (m for m in results.models if m in OTHERS):
        cells = []
        for metric in METRICS.values():
            scores = results.table(metric.name, [focus, other])
            gains = metric.difference(scores[focus], scores[other])
            wins = int((metric.sign * gains > 0).sum())
            shown = f"{spread(gains, 1)}, {wins} of {len(gains)}"
            cells.append(shown if len(gains) else "")
        seconds = results.table("fit_s", [focus, other])
        ratio = np.exp(np.log(seconds[focus] / seconds[other]).mean())
        rows.append([other, *cells, f"{ratio:.2f}"])
    head = [f"{metric.label}, {metric.unit}" for metric in METRICS.values()]
    note = (
        "Mean difference, its interval, and the sets on which the first is better; "
        "more is better for points, less for percent. Seconds: geometric mean ratio."
    )
    title = f"{focus} against each other model"
    return Table(title, ["other", *head, "seconds"], rows, note)


def per_set(results: Results, focus: str, metric: Metric) -> Table:
    """Show all sets' scores, the best one in bold."""
    scores = results.ranked(metric.name, focus).round(3)
    best = metric.best(scores)
    rows = [
        [name, *(show_score(value, best[name]) for value in row)]
        for name, row in zip(scores.index, scores.to_numpy(), strict=True)
    ]
    return Table(f"{metric.label} per set", ["set", *scores.columns], rows)


def show_number(value: float, form: str) -> str:
    """Show a number, and nothing for none."""
    return "" if np.isnan(value) else format(value, form)


def show_score(value: float, best: float) -> str:
    """Show a score, the best in bold, and nothing for none."""
    shown = show_number(value, ".3f")
    return f"**{shown}**" if value == best else shown


def losses(results: Results, focus: str) -> Table:
    """List the sets on which a baseline is better, the worst of each score first."""
    sizes = results.frame.groupby("set")[["n_train", "n_tasks"]].max()
    rows = []
    for metric in METRICS.values():
        scores = results.ranked(metric.name, focus)
        others = scores.drop(columns=focus)
        gaps = -metric.sign * metric.difference(scores[focus], metric.best(others))
        for name, gap in gaps[gaps > 0].sort_values(ascending=False).items():
            winner = (metric.sign * others.loc[name]).idxmax()
            shown = f"{gap:.1f} {metric.unit}"
            size = [f"{value:.0f}" for value in sizes.loc[name]]
            rows.append([metric.label, name, winner, shown, *size])
    head = ["score", "set", "best", "behind by", "rows to train on", "tasks"]
    return Table(f"Where {focus} is not the best", head, rows)


def seconds(results: Results, focus: str) -> Table:
    """Show seconds on each set, and their sums over the sets that all models have."""
    fit, predict = (results.ranked(name, focus) for name in ("fit_s", "predict_s"))
    lines = [(name, row, ".3g") for name, row in fit.iterrows()]
    lines.append(("sum", fit.sum(skipna=False), ".0f"))
    lines.append(("sum of predict", predict.sum(skipna=False), ".1f"))
    rows = [[name, *(show_number(v, form) for v in row)] for name, row, form in lines]
    return Table("Seconds of CPU time to fit", ["set", *fit.columns], rows)


def sharing(results: Results, focus: str) -> Table:
    """Compare shared networks with one per task."""
    rows, models = [], [focus, SEPARATE]
    times = results.table("fit_s", models)
    for name in ("auc", "arrmse"):
        metric = METRICS[name]
        scores = results.table(name, models)
        gains = metric.difference(scores[focus], scores[SEPARATE])
        for s, (ours, theirs) in scores.iterrows():
            a, b = times.loc[s]
            shown = [f"{ours:.3f}", f"{theirs:.3f}", f"{gains[s]:+.1f} {metric.unit}"]
            rows.append([s, metric.label, *shown, f"{a:.3g}", f"{b:.3g}"])
        if len(scores):
            a, b = times.loc[scores.index].sum()
            shown = f"{spread(gains, 1)} {metric.unit}"
            rows.append(["mean", metric.label, "", "", shown, f"{a:.0f}", f"{b:.0f}"])
    head = ["set", "score", "shared", "separate", "difference", "seconds", "separate"]
    return Table("One network for all tasks, and one per task", head, rows)


def coverage(results: Results, focus: str) -> Table:
    """Show how often regions hold the true labels, and how large they are."""
    rows = []
    for kind, label in (("sets", "prediction sets"), ("intervals", "intervals")):
        shares = [
            results.table(f"{kind}_{percent}", [focus])[focus] for percent in COVERAGES
        ]
        sizes = results.table(f"{kind}_90_size", [focus])[focus]
        for name in shares[0].index:
            held = [f"{share[name]:.3f}" for share in shares]
            rows.append([name, label, *held, f"{sizes[name]:.2f}"])
        if len(shares[0]):
            held = [f"{share.mean():.3f}" for share in shares]
            rows.append(["mean", label, *held, f"{sizes.mean():.2f}"])
    head = ["set", "regions", *(f"asked {percent} %" for percent in COVERAGES)]
    note = (
        "Share of labels that regions hold, the mean over tasks. Size at 90 %: classes "
        "in a set, or standard deviations of the labels."
    )
    return Table(
        "Regions of predict_interval and predict_set", [*head, "size"], rows, note
    )


def changes(results: Results, focus: str) -> Table:
    """Show what each variant of the focus changes, and its rank in the focus' place."""
    rows = []
    for variant in (m for m in results.models if m not in (focus, *OTHERS)):
        cells = []
        for metric in METRICS.values():
            scores = results.table(metric.name, [variant, focus])
            gains = metric.difference(scores[variant], scores[focus])
            ranks = metric.ranks(results.ranked(metric.name, variant))[variant]
            wins = int((metric.sign * gains > 0).sum())
            shown = f"{spread(gains)}, {wins} of {len(gains)}; rank {ranks.mean():.2f}"
            cells.append(shown if len(gains) else "")
        times = results.table("fit_s", [variant, focus])
        ratio = times[variant].sum() / times[focus].sum()
        rows.append([variant, *cells, f"{ratio:.2f}"])
    head = [f"{metric.label}, {metric.unit}" for metric in METRICS.values()]
    note = (
        "Variant minus default: mean over sets, its interval, the sets on which the "
        "variant is better, and its mean rank among the others in place of the "
        "default. Seconds: ratio of the sums."
    )
    title = f"Changes to the defaults of {focus}"
    return Table(title, ["variant", *head, "seconds"], rows, note)


def versions() -> str:
    found = {"skmtl": skmtl, "torch": torch, "scikit-learn": sklearn, "numpy": np}
    listed = ", ".join(f"{k} {module.__version__}" for k, module in found.items())
    return (
        f"{listed}, Python {platform.python_version()}, {platform.machine()}, one "
        "thread per fit."
    )


def tables(results: Results, focus: str) -> list[Table]:
    """Return all tables for one model, where there is something to compare."""
    models = [m for m in results.models if m != focus]
    found = [goals(results, focus), mean_ranks(results, focus), against(results, focus)]
    found += [per_set(results, focus, metric) for metric in METRICS.values()]
    found += [losses(results, focus), seconds(results, focus)]
    if SEPARATE in models:
        found.append(sharing(results, focus))
    found += [coverage(results, focus), changes(results, focus)]
    return [table for table in found if table.rows]


def show(cells: Cells, focus: Sequence[str], folder: Path | None) -> None:
    """Print the tables of the models in focus; write those of the first to a folder."""
    results = Results(cells)
    focus = [name for name in focus if name in set(results.frame["model"])]
    if not focus:
        print("There is no finished fit of a model in focus: see --focus.")
        return
    print(versions())
    for name in focus:
        for table in tables(results, name):
            print(table.text())
    for line in results.missing(results.models):
        print(f"failed: {line}")
    if folder is not None:
        import quality_plots

        folder.mkdir(parents=True, exist_ok=True)
        shown = tables(results, focus[0])[1:]  # without the goals
        parts = [versions(), "", *(table.rst() for table in shown)]
        parts += [f"- Failed: {line}" for line in results.missing(results.models)]
        (folder / "results.inc").write_text("\n".join(parts).strip() + "\n")
        quality_plots.draw(results, focus[0], folder)
