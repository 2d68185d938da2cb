"""What tools that explain or count networks rely on."""

import numpy as np
import pandas as pd
import pytest
import torch
from numpy.testing import assert_allclose, assert_array_equal
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from skmtl import MultiTaskClassifier, MultiTaskEstimator, MultiTaskRegressor
from skmtl.encoder import CNN
from tests._networks import plain_mlp

RNG = np.random.default_rng(0)
X = RNG.normal(size=(60, 4))
Y = np.column_stack([X[:, 0] > 0, X[:, 1].round().clip(-1, 1), np.ones(60)])
SMALL = {
    "encoder": plain_mlp((6,)),
    "max_iter": 2,
    "random_state": 0,
    "n_estimators": 1,
}


@pytest.mark.parametrize("precision", ["float32", "float64", "bf16"])
@pytest.mark.parametrize("n_estimators", [1, 2])
def test_probabilities_and_values_are_float64(n_estimators, precision):
    settings = {**SMALL, "n_estimators": n_estimators, "precision": precision}
    est = MultiTaskClassifier(**settings).fit(X, Y.astype(int))
    for rows in (X, X.astype(np.float32)):
        answers = [*est.predict_proba(rows), *est.predict_log_proba(rows)]
        answers.append(est.task_estimator(0).predict_proba(rows))
        answers += est.oof_prediction_ if n_estimators > 1 else []
        assert {a.dtype for a in answers} == {np.dtype(np.float64)}
        for p, labels in zip(answers[:3], est.predict(rows).T, strict=True):
            assert_array_equal(p.sum(axis=1).round(12), 1)
            classes = np.unique(Y[:, [q is p for q in answers[:3]].index(True)])
            assert_array_equal(classes[p.argmax(axis=1)], labels)
    values = MultiTaskRegressor(**settings).fit(X, X[:, :2])
    assert values.predict(X).dtype == np.float64
    mixed = MultiTaskEstimator(
        **settings, task_types=["classification", "regression"]
    ).fit(X, X[:, :2].round())
    assert mixed.predict_proba(X)[0].dtype == np.float64


@pytest.mark.parametrize(
    ("encoder", "rows"),
    [(plain_mlp((6, 6)), X), (CNN((4,)), RNG.normal(size=(60, 1, 6, 6)))],
    ids=["mlp", "cnn"],
)
def test_hooks_see_what_modules_take_and_return(encoder, rows):
    est = MultiTaskClassifier(**SMALL | {"encoder": encoder})
    module, seen = est.fit(rows, Y.astype(int)).module_, []
    for part in module.modules():
        if isinstance(part, nn.ReLU):
            assert not part.inplace
            part.register_full_backward_hook(lambda *args: seen.append(args))
        elif isinstance(part, nn.Linear):
            part.register_full_backward_hook(lambda *args: seen.append(args))
    inputs = torch.from_numpy(rows).to(module.input_dtype).requires_grad_()
    module(inputs).sum().backward()
    assert seen
    assert inputs.grad.isfinite().all()


@pytest.mark.parametrize("n_estimators", [1, 2])
@pytest.mark.parametrize(
    "settings",
    [
        {"sharing": "hard"},
        {"sharing": "adapter"},
        {"sharing": "task_token"},
        {"relation": "label_graph"},
    ],
)
def test_operations_of_predictions_are_counted(settings, n_estimators):
    est = MultiTaskClassifier(**SMALL | settings | {"n_estimators": n_estimators})
    est.fit(X, Y[:, :2].astype(int))
    expected = est.predict(X)
    with FlopCounterMode(display=False) as counter:
        assert_array_equal(est.predict(X), expected)
    assert counter.get_total_flops() > 0


def test_names_of_features_of_one_task_can_be_set():
    frame = pd.DataFrame(X, columns=list("abcd"))
    est = MultiTaskClassifier(**SMALL).fit(frame, Y.astype(int))
    view, other = est.task_estimator(0), est.task_estimator(1)
    expected = view.predict_proba(frame)
    view.feature_names_in_ = None  # as shap does before it calls with arrays
    assert view.feature_names_in_ is None
    assert_array_equal(view.predict_proba(X), expected)  # without a warning
    assert list(est.feature_names_in_) == list(other.feature_names_in_) == list("abcd")


@pytest.mark.parametrize("missing", [False, True])
def test_categories_of_numbers_are_numbers_where_fit_had_numbers(missing):
    frame = pd.DataFrame(X.round(1), columns=list("abcd"))
    est = MultiTaskClassifier(**SMALL).fit(frame, Y.astype(int))
    rows = frame.assign(a=frame.a.where(frame.a > 0)) if missing else frame
    typed = rows.assign(a=rows.a.astype("category"))
    pairs = zip(est.predict_proba(typed), est.predict_proba(rows), strict=True)
    for one, other in pairs:
        assert_array_equal(one, other)
    strings = frame.assign(a=frame.a.astype(str).astype("category"))
    with pytest.raises(ValueError, match="'a' of X holds categories, but held numbers"):
        est.predict(strings)


@pytest.mark.parametrize("n_estimators", [1, 3])
@pytest.mark.parametrize("precision", ["float32", "float64"])
def test_a_prediction_module_returns_what_the_estimator_predicts(
    n_estimators, precision
):
    rows = np.where(RNG.uniform(size=X.shape) < 0.1, np.nan, X)
    Z = np.column_stack([X[:, 0], Y])
    kinds = ["regression", "classification", "classification", "classification"]
    settings = {**SMALL, "n_estimators": n_estimators, "precision": precision}
    est = MultiTaskEstimator(**settings, task_types=kinds).fit(rows, Z)
    expected = est.predict_proba(rows)
    expected[0] = est.predict(rows)[:, :1].astype(float)
    before = [p.clone() for p in est.module_.parameters()]
    for task, known in enumerate(expected):
        module = est.prediction_module(f"task{task}")
        inputs = torch.from_numpy(rows).requires_grad_()
        found = module(inputs)
        assert_allclose(found.detach().numpy(), known, atol=1e-5)
        if task != 3:  # of one class
            found[:, 0].sum().backward()
            assert inputs.grad[~inputs.isnan()].abs().sum() > 0
    assert all(map(torch.equal, before, est.module_.parameters()))
