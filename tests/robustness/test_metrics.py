"""Scores of tasks are scikit-learn's on the rows that have a label."""

import warnings

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.exceptions import UndefinedMetricWarning
from sklearn.metrics import get_scorer

from skmtl.metrics import task_scores
from tests.robustness._labels import FORMS, Labels, labels

pytestmark = [
    pytest.mark.one_version,  # which take their time
]

OF_LABELS = ["accuracy", "balanced_accuracy", "f1_macro", "matthews_corrcoef"]
OF_NUMBERS = ["r2", "neg_mean_absolute_error", "neg_median_absolute_error"]


def of_scikit_learn(metric, true, predicted, weight):
    """Return its score, as scorers sign it."""
    scorer = get_scorer(metric)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        kwargs = {**scorer._kwargs, "sample_weight": weight}
        return scorer._sign * scorer._score_func(true, predicted, **kwargs)


@given(st.data())
def test_scores_are_scikit_learn_s_on_labelled_rows(data):
    kind = data.draw(st.sampled_from(["classification", "regression"]))
    own = data.draw(labels([kind], forms=[*FORMS]))
    for task in own.tasks:  # squares of the others are infinite
        task.what = "normal" if kind == "regression" else task.what
    metric = data.draw(st.sampled_from(OF_NUMBERS if kind[0] == "r" else OF_LABELS))
    n = data.draw(st.integers(1, 40))
    columns = own.columns(n)
    full = [type(t)(*{**vars(t), "missing": 0}.values()) for t in own.tasks]
    predicted = Labels(full, "objects").columns(n, part=1)
    rng = np.random.default_rng(data.draw(st.integers(0, 99)))
    weight = data.draw(
        st.sampled_from([None, rng.uniform(size=n), rng.integers(3, size=n)])
    )
    y, missing_label = own.of(columns)
    P, _ = Labels(full, "objects").of(predicted)
    rows = [
        [i for i, v in enumerate(c) if v is not None and (weight is None or weight[i])]
        for c in columns
    ]
    call = {"sample_weight": weight, "missing_label": missing_label}
    if weight is not None and not weight.any():
        with pytest.raises(ValueError, match="sample_weight is zero for every row"):
            task_scores(y, P, metric, **call)
        return
    if not any(rows):
        with pytest.raises(ValueError, match="y has no label to score"):
            task_scores(y, P, metric, **call)
        return
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UndefinedMetricWarning)
        scores = task_scores(y, P, metric, **call)
    for t, (own_rows, score) in enumerate(zip(rows, scores, strict=True)):
        true = np.array([columns[t][i] for i in own_rows])
        if np.isnan(score):
            assert len(set(true)) < 2
            continue
        expected = of_scikit_learn(
            metric,
            true,
            np.array([predicted[t][i] for i in own_rows]),
            None if weight is None else weight[own_rows],
        )
        assert score == pytest.approx(expected, rel=1e-9, abs=1e-12)
