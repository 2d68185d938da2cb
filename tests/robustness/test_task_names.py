"""The order of columns that are named as tasks is no matter."""

import warnings

import numpy as np
import pandas as pd
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose
from sklearn.exceptions import UndefinedMetricWarning

from skmtl.metrics import make_multitask_scorer, task_scores
from tests.robustness._labels import Labels, labels
from tests.robustness._properties import tried
from tests.robustness._settings import KINDS, estimators
from tests.robustness._tables import tables

pytestmark = [
    pytest.mark.one_version,  # which take their time
]

FRAMES = ["DataFrame", "nullable", "Arrow", "polars", "DataFrame of objects"]


def scores(est, X, y, weight):
    """Return the scores of an estimator, those of tasks by name."""
    metric = {"classification": "accuracy", "regression": "neg_mean_absolute_error"}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UndefinedMetricWarning)
        tasks = task_scores(
            *(y, est.predict_frame(X), metric),
            sample_weight=weight,
            task_types=dict(zip(est.task_names_, kinds_of(est), strict=True)),
        )
        scorer = make_multitask_scorer(metric, average="weighted")
        return {
            "score": tried(est.score, X, y, weight),
            "scorer": scorer(est, X, y, weight),
            **dict(zip(y.columns, tasks, strict=True)),
        }


def kinds_of(est):
    return getattr(est, "task_types_", [KINDS[type(est)][0]] * est.n_tasks_)


@settings(max_examples=12)
@given(st.data())
def test_permuted_columns_have_the_same_scores(data):
    est = data.draw(estimators(names=["alpha"])).set_params(max_iter=1)
    table = data.draw(tables(forms=["float64"], numbers=["normal"], gaps=[0]))
    own = data.draw(labels(KINDS[type(est)], forms=FRAMES, gaps=[0, 0.3]))
    for task in own.tasks:  # squares of the others are infinite
        task.what = "normal" if task.kind == "regression" else task.what
    if "task_types" in est.get_params():
        est.set_params(task_types=[task.kind for task in own.tasks])
    n = data.draw(st.integers(2, 30))
    X, (y, _) = table.given(n), own.given(n)
    rng = np.random.default_rng(table.seed)
    weight = rng.uniform(0.1, 5, size=(n, len(own.tasks)))
    weight = pd.DataFrame(weight, columns=list(y.columns))
    weight = pl.DataFrame(weight) if data.draw(st.booleans()) else weight
    if tried(est.fit, X, y, weight) is not est:
        return
    names = st.permutations(list(y.columns))
    first = scores(est, X, y, weight)
    second = scores(est, X, y[data.draw(names)], weight[data.draw(names)])
    assert first.keys() == second.keys()
    for key, score in first.items():
        if isinstance(score, Exception):
            assert str(score) == str(second[key])
        else:
            assert_allclose(second[key], score, rtol=1e-9, err_msg=str(key))


@settings(max_examples=12)
@given(labels(["classification"], forms=["objects"]), st.randoms())
def test_permuted_predictions_have_the_same_scores(own, random):
    columns, part = own.columns(20), own.columns(20, part=1)
    if all(v is None for column in columns for v in column):
        return
    y, _ = Labels(own.tasks, "DataFrame").of(columns)
    full = [[0 if v is None else v for v in column] for column in part]
    predicted = pd.DataFrame(dict(zip(y.columns, full, strict=True)), dtype=object)
    order = random.sample(list(y.columns), len(own.tasks))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UndefinedMetricWarning)
        first = task_scores(y, predicted, "accuracy")
        assert_allclose(task_scores(y, predicted[order], "accuracy"), first)
