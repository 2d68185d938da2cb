"""The page of a report."""

from importlib.metadata import version
from importlib.resources import files
from math import prod
from typing import Any

from sklearn.base import BaseEstimator

from skmtl._core.history import TrainingHistory
from skmtl._drawing import needs_matplotlib
from skmtl._drawing.html import Markup, escape_html, make_paragraph
from skmtl._estimators.report import sections

#: Nothing is loaded from elsewhere, and nothing runs.
POLICY = "default-src 'none'; style-src 'unsafe-inline'; img-src data:"


def report(
    estimator: BaseEstimator, X: Any = None, y: Any = None, gain: Any = None
) -> str:
    """Return a page that tells all about a fitted estimator."""
    needs_matplotlib("report_html")
    if (X is None) != (y is None):
        raise ValueError("X and y must be given together, or neither of them.")
    names = estimator.task_names_
    if gain is not None and getattr(gain, "task_names", None) != names:
        raise ValueError(
            "The 'gain' parameter of report_html must be what sharing_gain returns for "
            f"the same tasks, {names}. Got {gain!r}."
        )
    parts = {
        "Settings": sections.make_settings_section(estimator),
        "Tasks": sections.make_tasks_section(estimator),
        "Scores": sections.make_scores_section(estimator, X, y),
    }
    if estimator.n_iter_:
        records = TrainingHistory.from_skorch(estimator.history_, estimator.n_tasks_)
        parts["Training"] = sections.make_training_section(estimator, records)
        parts["Weights of the tasks"] = sections.make_weights_section(
            estimator, records
        )
        parts["Relations between tasks"] = sections.make_relations_section(
            estimator, records
        )
    if gain is not None:
        parts["Gain from sharing"] = sections.gains(estimator, gain)
    return _make_page(type(estimator).__name__, _make_summary(estimator), parts)


def _make_summary(estimator: BaseEstimator) -> str:
    """Return one sentence about the estimator."""
    n_parameters = sum(p.numel() for p in estimator.module_.parameters())
    shape = estimator.net_.module__input_shape
    counted = [
        (estimator.n_tasks_, "task"),
        (prod(shape), "feature" if len(shape) == 1 else "pixel value"),
        (estimator._label_counts.n_rows, "training row"),
        (estimator.n_estimators_, "member"),
        (n_parameters, "parameter"),
        (estimator.n_iter_, "epoch"),
    ]
    words = [f"{n:,} {noun}{'s' if n != 1 else ''}" for n, noun in counted]
    return f"{', '.join(words)}; skmtl {version('skmtl')}."


def _make_page(title: str, summary: str, parts: dict[str, Markup]) -> str:
    """Return a page with a section for each part that has something to tell."""
    parts = {heading: part for heading, part in parts.items() if part}
    names = {heading: heading.lower().replace(" ", "-") for heading in parts}
    style = files("skmtl._estimators.report").joinpath("report.css").read_text("utf-8")
    links = "".join(
        f'<li><a href="#{name}">{escape_html(heading)}</a></li>'
        for heading, name in names.items()
    )
    sections = "".join(
        f'<section aria-labelledby="{names[heading]}">\n'
        f'<h2 id="{names[heading]}">{escape_html(heading)}</h2>\n{part}</section>\n'
        for heading, part in parts.items()
    )
    return f"""<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="{POLICY}">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{escape_html(title)}</title>
<style>
{style}</style>
</head>
<body>
<header>
<h1>{escape_html(title)}</h1>
{make_paragraph(summary)}</header>
<nav aria-label="Sections"><ul>{links}</ul></nav>
<main>
{sections}</main>
</body>
</html>
"""
