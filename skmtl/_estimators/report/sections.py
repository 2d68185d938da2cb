"""The sections of a report: what is told of an estimator, as tables and pictures."""

from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.base import BaseEstimator

from skmtl._core.history import TrainingHistory, mean_cosines
from skmtl._core.numerics import mean_of_known
from skmtl._data.labels import read_labels
from skmtl._drawing import (
    choose_affinity_size,
    choose_gains_size,
    choose_losses_size,
    choose_pairs,
    choose_weights_size,
    draw_affinity,
    draw_gains,
    draw_losses,
    draw_weights,
    order_tasks,
    shorten_names,
)
from skmtl._drawing.html import (
    MINUS,
    Markup,
    escape_html,
    join_markup,
    make_bar,
    make_figure,
    make_paragraph,
    make_table,
)
from skmtl._estimators.report.pictures import draw_picture

#: Classes whose shares are all written out, and pairs of tasks that a table lists.
N_SHARES, N_PAIRS = 6, 12

Array = NDArray[np.float64]


def make_settings_section(estimator: BaseEstimator) -> Markup:
    """Return the strategies, and the parameters that are not left at their defaults."""
    params = estimator.get_params(deep=False)
    usual = type(estimator)().get_params(deep=False)
    always = ["sharing", "encoder", "weighting", "relation"]
    changed = [
        k for k in params if repr(params[k]) != repr(usual[k]) and k not in always
    ]
    rows = [(name, repr(params[name])) for name in always + changed]
    description = "Strategies, and parameters that are not at their defaults."
    return make_table(description, ["Parameter", "Value"], rows)


def make_tasks_section(estimator: BaseEstimator) -> Markup:
    """Return what training has known of the tasks."""
    targets, counts = estimator._targets, estimator._label_counts
    rows = []
    for t, (classes, of_classes) in enumerate(
        zip(targets.classes, counts.of_classes, strict=True)
    ):
        n_labels = int(of_classes.sum())
        if classes is None:
            mean, scale = escape_html(targets.mean[t]), escape_html(targets.scale[t])
            balance = f"mean {mean}, standard deviation {scale}"
        else:
            balance = _describe_balance(classes.tolist(), of_classes / max(n_labels, 1))
        n_classes = None if classes is None else len(classes)
        missing = _format_percent(1 - n_labels / counts.n_rows)
        name, kind = targets.names[t], targets.task_types[t]
        rows.append((name, kind, n_classes, n_labels, missing, balance))
    header = ["Task", "Kind", "Classes", "Labels", "Missing", "Balance"]
    return make_table(f"Labels of {counts.n_rows:,} training rows.", header, rows)


def _describe_balance(classes: list[Any], shares: Array) -> Markup:
    """Return the shares of a task's classes; of many the commonest and the rarest."""
    pairs = zip(classes, shares, strict=True)
    words = [f"{label}: {_format_percent(share)}" for label, share in pairs]
    if len(words) <= N_SHARES:
        return join_markup(make_bar(shares.tolist()), escape_html(", ".join(words)))
    order = np.argsort(-shares, kind="stable")
    description = f"from {words[order[0]]} to {words[order[-1]]}"
    return join_markup(make_bar(shares[order].tolist()), escape_html(description))


def _format_percent(share: float) -> str:
    return f"{100 * share:.3g} %"


def make_scores_section(estimator: BaseEstimator, X: Any, y: Any) -> Markup:
    """Return the tasks' scores, out of fold and on the data given."""
    targets = estimator._targets
    columns: dict[str, Any] = {"Without inputs": _score_baseline(estimator)}
    if estimator._oof is not None:
        columns["Out of fold"] = estimator.oof_scores_
    counts = None
    if X is not None:
        columns["Data given"] = estimator._score_tasks(X, y)
        labels = read_labels(y, estimator.missing_label).match_names(targets.names)
        counts = labels.get_mask().sum(axis=0)
    if len(columns) == 1:
        return make_paragraph(
            "There are none: call report_html with X and y that training has not seen, "
            "or fit with resampling='crossfit', which leaves out-of-fold predictions."
        )
    measure = ["R²" if c is None else "accuracy" for c in targets.classes]
    table_columns = [targets.names, measure, *columns.values()]
    means = [_mean(values) for values in columns.values()]
    mean: list[Any] = ["Mean over tasks", "", *means]
    if counts is not None:
        columns["Labels given"] = counts
        table_columns.append(counts)
        mean.append(int(counts.sum()))
    rows = [*zip(*table_columns, strict=True), mean]
    description = (
        "Without inputs: the share of the commonest class in training, or 0, the R² of "
        "the mean. Out of fold: training rows, by members that have not seen them."
    )
    return make_table(description, ["Task", "Score", *columns], rows)


def _score_baseline(estimator: BaseEstimator) -> Array:
    shares = [
        0.0 if classes is None else counts.max() / max(counts.sum(), 1)
        for classes, counts in zip(
            estimator._targets.classes, estimator._label_counts.of_classes, strict=True
        )
    ]
    return np.array(shares)


def _mean(values: Array) -> float:
    return float(np.nanmean(values)) if np.isfinite(values).any() else np.nan


def make_training_section(estimator: BaseEstimator, records: TrainingHistory) -> Markup:
    """Return the losses by epoch."""
    names, best = estimator.task_names_, records.best_epoch
    n_epochs = len(records.train_losses)
    description = f"Losses of {len(names)} tasks over {n_epochs} epochs"
    drawn = draw_picture(
        lambda ax: draw_losses(
            ax, records.train_losses, records.valid_losses, names, best
        ),
        choose_losses_size(len(names)),
        description,
    )
    members = estimator.n_estimators_
    of_members = f", means over {members} members" if members > 1 else ""
    columns = {f"Training, epoch {n_epochs}": records.train_losses[-1]}
    if best is not None:
        columns[f"Validation, epoch {best}"] = records.valid_losses[best - 1]
    rows = zip(names, *columns.values(), strict=True)
    numbers = make_table(f"Losses{of_members}.", ["Task", *columns], rows)
    return join_markup(make_figure(drawn, f"{description}{of_members}."), numbers)


def make_weights_section(estimator: BaseEstimator, records: TrainingHistory) -> Markup:
    """Return the tasks' weights by epoch, and how much their gradients conflict."""
    names = estimator.task_names_
    means = mean_cosines(records.cosines)
    cosines = means if np.isfinite(means).any() else None
    description = f"Weights of {len(names)} tasks over {len(means)} epochs"
    columns = {"Weight, last epoch": records.weights[-1]}
    if cosines is not None:
        description += (
            ", and the mean cosine of each task's gradient with those of the others"
        )
        columns["Mean cosine, last epoch"] = cosines[-1]
    drawn = draw_picture(
        lambda ax: draw_weights(ax, records.weights, cosines, shorten_names(names)),
        choose_weights_size(len(names), len(columns)),
        description,
    )
    rows = zip(names, *columns.values(), strict=True)
    caption = "The weights of the tasks in a step sum to their number."
    return join_markup(
        make_figure(drawn, f"{description}."),
        make_table(caption, ["Task", *columns], rows),
    )


def make_relations_section(
    estimator: BaseEstimator, records: TrainingHistory
) -> Markup:
    """Return what the relation and the gradients tell of pairs of tasks."""
    parts = []
    relation = estimator.module_.relation_matrix()
    if relation is not None:
        matrix = relation.double().cpu().numpy()
        parts.append(
            _make_matrix(matrix, estimator.task_names_, "Relation between tasks")
        )
    mean = mean_of_known(records.cosines, axis=0)
    if np.isfinite(mean).any():
        description = "Cosines of the tasks' gradients, means over the epochs"
        parts.append(_make_matrix(mean, estimator.task_names_, description))
    return join_markup(*parts)


def _make_matrix(matrix: Array, names: list[Any], description: str) -> Markup:
    """Return a matrix between tasks as a picture, and its largest values."""
    (order,) = order_tasks(matrix)
    shown, short = (
        matrix[np.ix_(order, order)],
        shorten_names([names[t] for t in order]),
    )
    drawn = draw_picture(
        lambda ax: draw_affinity(ax, shown, short, [], "value"),
        choose_affinity_size(len(names)),
        description,
    )
    symmetric = np.allclose(matrix, matrix.T, equal_nan=True)
    pairs = choose_pairs(np.triu(matrix) if symmetric else matrix, N_PAIRS)
    rows = [(names[i], names[j], float(matrix[i, j])) for i, j in pairs]
    header = ["Task", "With", "Value"] if symmetric else ["Row", "Column", "Value"]
    caption = f"{description}: the {len(rows)} largest values."
    return join_markup(
        make_figure(drawn, f"{description}."), make_table(caption, header, rows)
    )


def gains(estimator: BaseEstimator, gain: Any) -> Markup:
    """Return what sharing is worth to each task."""
    names = estimator.task_names_
    description = f"Gains of {len(names)} tasks from sharing, with confidence intervals"
    drawn = draw_picture(
        lambda ax: draw_gains(
            ax, gain.gain, gain.interval, gain.hurts, names, gain.delta_m
        ),
        choose_gains_size(len(names)),
        description,
    )
    word = np.where(gain.hurts, "hurts", np.where(gain.helps, "helps", "unclear"))
    means = mean_of_known(gain.scores, 0), mean_of_known(gain.independent_scores, 0)
    rows = zip(names, *means, gain.gain, *gain.interval.T, word.tolist(), strict=True)
    header = ["Task", "Shared", "Independent", "Gain", "From", "To", "Sharing"]
    low, high = map(_signed_percent, gain.delta_m_interval)
    words = (
        f"Mean relative gain: {_signed_percent(gain.delta_m)}, from {low} to {high}. "
        f"A fit takes {gain.seconds:.3g} s, with independent networks "
        f"{gain.independent_seconds:.3g} s; it has {gain.n_parameters:,} parameters, "
        f"against {gain.independent_n_parameters:,}."
    )
    numbers = make_table(
        "Mean scores over splits, and their differences.", header, rows
    )
    return join_markup(
        make_figure(drawn, f"{description}."), make_paragraph(words), numbers
    )


def _signed_percent(share: float) -> str:
    return f"{100 * share:+.3g} %".replace("-", MINUS)
