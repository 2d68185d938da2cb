"""Members train at once as they do one after the other."""

import numpy as np
import pytest
import torch
from sklearn.base import clone
from sklearn.datasets import load_digits, load_linnerud
from skorch.callbacks import Callback

from skmtl import MultiTaskClassifier, MultiTaskEstimator, MultiTaskRegressor
from skmtl._estimators.fitting.settings import FitSettings
from skmtl.encoder import CNN, MLP
from skmtl.sharing import SHARING
from skmtl.training import MembersNet
from skmtl.weighting import WEIGHTING


def digits(n=120, missing=0.2):
    X, digit = load_digits(return_X_y=True)
    X, digit = X[:n] / 16, digit[:n]
    Y = np.column_stack([digit, digit % 2, digit > 4, digit // 3]).astype(float)
    Y[np.random.default_rng(0).random(Y.shape) < missing] = np.nan
    return X, Y


SETTINGS = {
    "encoder": MLP((12, 10), dropout=0),
    "n_estimators": 3,
    "max_iter": 3,
    "batch_size": 64,
    "precision": "float64",
    "random_state": 0,
}


def in_turns(monkeypatch, estimator, X, Y):
    """Fit with members that are not stacked."""
    with monkeypatch.context() as patch:
        patch.setattr(MembersNet, "_may_stack", lambda self: False)
        return clone(estimator).fit(X, Y)


def assert_same(a, b, X):
    assert a.n_iter_ == b.n_iter_
    np.testing.assert_allclose(a.loss_curve_, b.loss_curve_, rtol=1e-5)
    for p, q in zip(a.predict_proba(X), b.predict_proba(X), strict=True):
        np.testing.assert_allclose(p, q, atol=1e-5)
    for p, q in zip(a.oof_prediction_, b.oof_prediction_, strict=True):
        np.testing.assert_allclose(p, q, atol=1e-5)


DRAWING = {"learned_branching"}  # no two draws would be the same


@pytest.mark.one_version
@pytest.mark.parametrize("sharing", sorted(set(SHARING) - DRAWING))
@pytest.mark.sampled(3)
def test_every_sharing_strategy_stacks(monkeypatch, sharing):
    X, Y = digits()
    # Adam would blow up rounding where gradients are all but zero.
    plain = {"optimizer": "sgd", "learning_rate_init": 0.05}
    est = MultiTaskClassifier(sharing, **SETTINGS | plain)
    stacked = clone(est).fit(X, Y)
    assert stacked.net_.stacked
    assert_same(stacked, in_turns(monkeypatch, est, X, Y), X)


STACKING = [
    name
    for name, spec in WEIGHTING.items()
    if not hasattr(spec(), "update_every") and name not in ("famo", "rlw")
]


@pytest.mark.one_version
@pytest.mark.parametrize("weighting", STACKING)
def test_weightings_by_losses_stack(monkeypatch, weighting):
    X, Y = digits()
    est = MultiTaskClassifier(weighting=weighting, **SETTINGS)
    stacked = clone(est).fit(X, Y)
    assert stacked.net_.stacked
    assert_same(stacked, in_turns(monkeypatch, est, X, Y), X)


@pytest.mark.parametrize("resampling", ["crossfit", "bootstrap", None])
def test_schemes(monkeypatch, resampling):
    X, Y = digits()
    est = MultiTaskClassifier(resampling=resampling, **SETTINGS)
    stacked, other = clone(est).fit(X, Y), in_turns(monkeypatch, est, X, Y)
    if resampling is not None:
        assert_same(stacked, other, X)
    assert hasattr(stacked, "oof_prediction_") is (resampling is not None)


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"weighting": "uncertainty"},
        {"sharing": "mmoe"},
        {"optimizer": torch.optim.SGD, "learning_rate_init": 0.5},
        {"encoder": CNN((3,))},
    ],
    ids=str,
)
@pytest.mark.sampled(2)
def test_those_that_have_stopped_leave_the_others_alone(monkeypatch, settings):
    X, Y = digits()
    X = X.reshape(-1, 1, 8, 8) if "encoder" in settings else X
    stops = {"n_estimators": 4, "max_iter": 40, "n_iter_no_change": 1, "batch_size": 32}
    fast = {"learning_rate_init": 0.05}
    stopped = []

    class Watch(Callback):
        def on_epoch_end(self, net, **kwargs):
            stopped.append(int(net.loop_.stopped.sum()))

    watch = {"callbacks": [Watch()]}
    est = MultiTaskClassifier(**SETTINGS | stops | fast | watch | settings)
    stacked = clone(est).fit(X, Y)
    assert stacked.net_.stacked
    assert len(set(stopped)) > 2  # they stop one after the other
    assert_same(stacked, in_turns(monkeypatch, est, X, Y), X)


def test_tables_of_many_rows_have_fewer_members(monkeypatch):
    monkeypatch.setattr("skmtl._estimators.fitting.settings.MANY_ROWS", 120)
    X, Y = digits()
    est = MultiTaskClassifier(encoder=MLP((4,)), max_iter=1, random_state=0)
    assert clone(est).fit(X[:119], Y[:119]).n_estimators_ == 8
    est.fit(X, Y)
    assert est.n_estimators_ == 4
    # Whoever trains on keeps the members, whatever the number of rows.
    est.partial_fit(X[:100], Y[:100])
    assert est.n_estimators_ == 4
    assert clone(est).set_params(n_estimators=3).fit(X, Y).n_estimators_ == 3


@pytest.mark.parametrize(
    ("n_rows", "batch_size", "epochs"),
    [(200, 64, 16), (1797, 64, 6), (1797, 4, 5), (1797, 150, 16), (1797, 128, 13)],
)
def test_open_patience_is_the_epochs_of_200_steps(n_rows, batch_size, epochs):
    est = MultiTaskClassifier(batch_size=batch_size, n_estimators=2)
    settings = FitSettings.from_estimator(est)
    assert settings.choose_patience(n_rows) == epochs
    settings = FitSettings.from_estimator(est.set_params(n_iter_no_change=3))
    assert settings.choose_patience(n_rows) == 3


@pytest.mark.parametrize("encoder", [CNN((3,)), MLP((8, 8), "relu", 0, "layer", True)])
def test_encoders_stack(monkeypatch, encoder):
    X, Y = digits()
    X = X.reshape(-1, 1, 8, 8) if isinstance(encoder, CNN) else X
    est = MultiTaskClassifier(**SETTINGS | {"encoder": encoder})
    stacked = clone(est).fit(X, Y)
    assert stacked.net_.stacked
    assert_same(stacked, in_turns(monkeypatch, est, X, Y), X)


@pytest.mark.parametrize(
    "settings",
    [
        {"weighting": "upgrad"},
        {"weighting": "famo"},
        {"augmentation": "mixup"},
        {"hard_example_mining": "loss"},
        {"record_gradients": True},
        {"encoder": MLP((8,), norm="batch")},
        {
            "optimizer": torch.optim.LBFGS,
            "encoder": MLP((8,), dropout=0, numeric_embedding=None),
            "batch_size": 120,
        },
    ],
    ids=str,
)
@pytest.mark.sampled(3)
def test_what_cannot_be_stacked_trains_in_turns(settings):
    X, Y = digits()
    est = MultiTaskClassifier(**SETTINGS | settings).fit(X, Y)
    assert not est.net_.stacked
    assert est.score(X, Y) > 0.3
    assert est.oof_prediction_[0].shape == (120, 10)
    again = est.set_params(warm_start=True).fit(X, Y)
    assert again.n_iter_ == 6


def test_out_of_fold_predictions_are_those_of_the_member_of_the_fold():
    X, Y = digits(missing=0)
    est = MultiTaskClassifier(**SETTINGS | {"max_iter": 5}).fit(X, Y)
    folds = [held for _, held in est._parts_of_fit[1]]
    np.testing.assert_array_equal(np.sort(np.concatenate(folds)), np.arange(120))
    raw = clone(est).set_params(calibrate=False, early_stopping=False).fit(X, Y)
    member = raw.module_.member(1).eval()
    with torch.no_grad():
        Z = member(torch.from_numpy(X[folds[1]]))
    expected = raw._targets.predict_proba(Z)
    for t in range(4):
        np.testing.assert_allclose(
            raw.oof_prediction_[t][folds[1]], expected[t], atol=1e-9
        )


def test_probabilities_not_logits_are_averaged():
    X, Y = digits()
    est = MultiTaskClassifier(calibrate=False, **SETTINGS).fit(X, Y)
    alone = [est.module_.member(i).eval() for i in range(3)]
    with torch.no_grad():
        each = [est._targets.predict_proba(m(torch.from_numpy(X))) for m in alone]
    for t, proba in enumerate(est.predict_proba(X)):
        expected = np.mean([p[t] for p in each], axis=0)
        np.testing.assert_allclose(proba, expected, atol=1e-9)


def test_labels_of_held_out_rows_do_not_touch_their_member(monkeypatch):
    X, Y = digits(missing=0)
    fold = np.arange(120) % 3
    parts = [(np.flatnonzero(fold != i), np.flatnonzero(fold == i)) for i in range(3)]
    monkeypatch.setattr(
        "skmtl._estimators.fitting.splits.make_crossfit_splits", lambda *args: parts
    )
    other = Y.copy()
    other[fold == 0] = Y[fold == 0][::-1]
    est = MultiTaskClassifier(early_stopping=False, **SETTINGS)
    a, b = clone(est).fit(X, Y).module_, clone(est).fit(X, other).module_
    for i, same in enumerate([True, False, False]):
        p, q = (list(module.member(i).parameters()) for module in (a, b))
        assert all(map(torch.equal, p, q)) is same


@pytest.mark.parametrize("n_estimators", [1, 3])
@pytest.mark.parametrize("resampling", ["crossfit", "bootstrap", None])
def test_small_data(n_estimators, resampling):
    X, Y = load_linnerud(return_X_y=True)
    est = MultiTaskRegressor(
        n_estimators=n_estimators, resampling=resampling, max_iter=5, random_state=0
    )
    est.fit(X, Y)
    assert est.predict(X).shape == (20, 3)
    folds = n_estimators > 1 and resampling == "bootstrap"
    assert hasattr(est, "validation_scores_") is folds
    assert hasattr(est, "oof_prediction_") is folds


def test_regression_and_both_kinds():
    X, Y = load_linnerud(return_X_y=True)
    X, Y = np.tile(X, (10, 1)), np.tile(Y, (10, 1))
    X = X + np.random.default_rng(0).normal(size=X.shape)
    Y = np.column_stack([Y + 0.5, Y[:, 0] > 180, np.digitize(Y[:, 1], [34, 37])])
    est = MultiTaskEstimator(n_estimators=3, max_iter=30, random_state=0).fit(X, Y)
    assert est.task_types_ == ["regression"] * 3 + ["classification"] * 2
    shapes = [p.shape for p in est.oof_prediction_]
    assert shapes == [(200,)] * 3 + [(200, 2), (200, 3)]
    assert est.oof_scores_.shape == (5,)
    assert est.oof_score_ == pytest.approx(est.oof_scores_.mean())
    assert est.oof_score_ > 0.2
    intervals = est.predict_interval(X, coverage=0.8)
    low, high = intervals[0].T
    assert 0.75 < np.mean((low <= Y[:, 0]) & (Y[:, 0] <= high)) <= 1
    assert intervals[3:] == [None, None]
    sets = est.predict_set(X, coverage=0.8)
    assert sets[:3] == [None] * 3
    assert [s.shape for s in sets[3:]] == [(200, 2), (200, 3)]
    assert 0.75 < np.mean(sets[3][np.arange(200), Y[:, 3].astype(int)]) <= 1


def test_partial_fit_and_warm_start():
    X, Y = digits()
    est = MultiTaskClassifier(**SETTINGS)
    classes = [np.unique(y[~np.isnan(y)]) for y in Y.T]
    for _ in range(3):
        est.partial_fit(X, Y, classes=classes)
    assert est.n_iter_ == 3
    assert not hasattr(est, "oof_prediction_")
    warm = MultiTaskClassifier(warm_start=True, **SETTINGS).fit(X, Y)
    folds = warm._parts_of_fit
    first = warm.oof_score_
    warm.set_params(max_iter=10).fit(X, Y)
    assert warm._parts_of_fit is not None
    for (_, a), (_, b) in zip(folds[1], warm._parts_of_fit[1], strict=True):
        np.testing.assert_array_equal(a, b)
    assert warm.oof_score_ > first


@pytest.mark.parametrize("precision", ["auto", "float32"])
def test_members_that_take_turns_train_on_in_their_precision(precision):
    X, Y = load_linnerud(return_X_y=True)
    settings = {**SETTINGS, "weighting": "famo", "precision": precision}
    est = MultiTaskRegressor(**settings).partial_fit(X, Y).partial_fit(X, Y)
    assert not est.net_.stacked
    assert {net.training_dtype for net in est.net_._workers} == {
        est.net_.training_dtype
    }


@pytest.mark.parametrize(
    "encoder", ["periodic_embedding", "piecewise_linear_embedding"]
)
def test_embeddings_of_numbers_are_built_for_all_members_at_once(encoder):
    X, Y = load_linnerud(return_X_y=True)
    settings = {**SETTINGS, "encoder": encoder, "max_iter": 1}
    module = MultiTaskRegressor(**settings).fit(X, Y).module_
    assert module.encoder is not None
    X = torch.from_numpy(X)
    for i, outputs in enumerate(module(X)):
        torch.testing.assert_close(module.member(i)(X), outputs)


def test_attributes_without_folds_say_how_to_get_them():
    X, Y = digits()
    est = MultiTaskClassifier(n_estimators=1, max_iter=1).fit(X, Y)
    with pytest.raises(AttributeError, match=r"oof_prediction_ needs out-of-fold"):
        _ = est.oof_prediction_
    with pytest.raises(ValueError, match="predict_set needs out-of-fold"):
        est.predict_set(X)
    with pytest.raises(
        ValueError, match=r"all tasks are of classification: use pr.*t\.$"
    ):
        est.predict_interval(X)
    one = MultiTaskRegressor(n_estimators=1, max_iter=1).fit(X, Y[:, 0])
    with pytest.raises(
        ValueError, match="the task is one of regression: use predict_i"
    ):
        one.predict_set(X)
    with pytest.raises(ValueError, match="'threshold' parameter needs out-of-fold"):
        MultiTaskClassifier(threshold="f1", resampling=None).fit(X, Y)


def test_few_labels_of_a_task_warn_by_name():
    X, Y = digits(missing=0)
    Y[2:, 1] = np.nan
    with pytest.warns(
        UserWarning, match="Task 'task1' has 2 labelled rows, fewer than"
    ):
        MultiTaskClassifier(**SETTINGS).fit(X, Y)


def test_thresholds_move_predictions_and_not_probabilities():
    X, Y = digits(missing=0)
    plain = MultiTaskClassifier(**SETTINGS).fit(X, Y)
    tuned = MultiTaskClassifier(threshold="balanced_accuracy", **SETTINGS).fit(X, Y)
    cut = tuned.thresholds_[1]
    assert np.isnan(tuned.thresholds_[[0, 3]]).all()
    np.testing.assert_array_equal(plain.predict_proba(X)[1], tuned.predict_proba(X)[1])
    expected = tuned.predict_proba(X)[1][:, 1] > cut
    np.testing.assert_array_equal(tuned.predict(X)[:, 1], expected)
    np.testing.assert_array_equal(tuned.task_estimator("task1").predict(X), expected)


def test_members_that_take_turns_look_at_held_out_rows_without_dropout(monkeypatch):
    X, Y = digits(80)
    seen = []

    def twice(outputs):
        def call(*args):
            found, again = outputs(*args), outputs(*args)
            seen.append(torch.equal(found.nan_to_num(), again.nan_to_num()))
            return found

        return call

    of_each = MembersNet.compute_held_out_outputs
    monkeypatch.setattr(MembersNet, "compute_held_out_outputs", twice(of_each))
    settings = {
        **SETTINGS,
        "encoder": MLP((12,), dropout=0.5),
        "hard_example_mining": "loss",
    }
    est = MultiTaskClassifier(**settings, resampling="bootstrap").fit(X, Y)
    assert not est.net_.stacked
    assert len(seen) == 3  # in each epoch
    assert all(seen)
