"""What decides on held-out rows: a metric, an average, and tasks that stop."""

import pickle

import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.base import clone
from sklearn.metrics import (
    balanced_accuracy_score,
    mean_absolute_error,
    r2_score,
    roc_auc_score,
)
from sklearn.model_selection import GridSearchCV, KFold
from skorch.callbacks import Callback

from skmtl import MultiTaskClassifier, MultiTaskEstimator, MultiTaskRegressor
from skmtl.datasets import make_multitask_classification, make_multitask_regression
from skmtl.training import MembersNet
from tests._networks import plain_mlp

X, Y = make_multitask_classification(
    150, n_tasks=3, n_classes=[2, 3, 2], missing=0.2, noise=1.0, random_state=0
)
TRAIN, HELD = slice(0, 100), slice(100, 150)
VALID = {"X_val": X[HELD], "y_val": Y[HELD]}
SETTINGS = {
    "encoder": plain_mlp((16,)),
    "n_estimators": 1,
    "max_iter": 25,
    "learning_rate_init": 0.02,
    "random_state": 0,
}


def classifier(**settings):
    return MultiTaskClassifier(**{**SETTINGS, **settings})


def accuracies(est, X, Y):
    predicted = est.predict(X)
    seen = ~np.isnan(Y)
    return [
        balanced_accuracy_score(y[s], z[s])
        for y, z, s in zip(Y.T, predicted.T, seen.T, strict=True)
    ]


def aucs(est, X, Y):
    seen = ~np.isnan(Y)
    scores = []
    for p, y, s in zip(est.predict_proba(X), Y.T, seen.T, strict=True):
        known = p[s, 1] if p.shape[1] == 2 else p[s]
        scores.append(roc_auc_score(y[s], known, multi_class="ovr"))
    return scores


@pytest.mark.parametrize(
    ("metric", "scored"),
    [("balanced_accuracy", accuracies), ("roc_auc_ovr", aucs)],
)
@pytest.mark.parametrize(
    ("average", "worth"), [("macro", np.mean), ("min", min), ("task1", lambda s: s[1])]
)
def test_the_best_epoch_by_the_metric_comes_back(metric, scored, average, worth):
    est = classifier(validation_metric=metric, validation_average=average)
    est.fit(X[TRAIN], Y[TRAIN], **VALID)
    assert est.best_validation_score_ == max(est.validation_scores_)
    assert len(est.validation_scores_) == est.n_iter_
    found = scored(est, X[HELD], Y[HELD])
    assert worth(found) == pytest.approx(est.best_validation_score_)
    epoch = int(np.argmax(est.validation_scores_))
    np.testing.assert_allclose(est.history_[epoch, "valid_scores"], found)
    of_tasks = np.array(est.history_[:, "valid_scores"])
    np.testing.assert_array_equal(est.best_epochs_, of_tasks.argmax(axis=0) + 1)


def test_the_log_loss_decides_as_the_loss_does():
    plain = classifier().fit(X[TRAIN], Y[TRAIN], **VALID)
    scored = classifier(validation_metric="neg_log_loss")
    scored.fit(X[TRAIN], Y[TRAIN], **VALID)
    np.testing.assert_allclose(scored.validation_scores_, plain.validation_scores_)
    np.testing.assert_array_equal(scored.best_epochs_, plain.best_epochs_)
    for p, q in zip(scored.predict_proba(X), plain.predict_proba(X), strict=True):
        np.testing.assert_array_equal(p, q)


def test_another_metric_chooses_another_epoch():
    plain = classifier().fit(X[TRAIN], Y[TRAIN], **VALID)
    scored = classifier(validation_metric="balanced_accuracy")
    scored.fit(X[TRAIN], Y[TRAIN], **VALID)
    found, without = (np.mean(accuracies(e, X[HELD], Y[HELD])) for e in (scored, plain))
    assert found > without


def test_losses_can_be_averaged_too():
    worst = classifier(validation_average="min").fit(X[TRAIN], Y[TRAIN], **VALID)
    losses = np.array(worst.history_[:, "valid_losses"])
    np.testing.assert_allclose(worst.validation_scores_, -losses.max(axis=1))


def test_numbers_are_scored_in_their_own_units():
    X, Y = make_multitask_regression(120, n_tasks=2, random_state=0)
    Y = 100 + 20 * Y
    est = MultiTaskRegressor(
        **{**SETTINGS, "validation_metric": "neg_mean_absolute_error"}
    ).fit(X[:80], Y[:80], X_val=X[80:], y_val=Y[80:])
    error = mean_absolute_error(Y[80:], est.predict(X[80:]))
    assert est.best_validation_score_ == pytest.approx(-error, rel=1e-5)


def test_tasks_of_both_kinds_have_metrics_of_their_own():
    X, Z = make_multitask_regression(120, n_tasks=2, random_state=0)
    Y = pd.DataFrame({"big": Z[:, 0] > 0, "number": Z[:, 1]})
    metric = {
        "classification": "balanced_accuracy",
        "regression": "r2",
    }
    est = MultiTaskEstimator(**{**SETTINGS, "validation_metric": metric})
    est.fit(X[:80], Y[:80], X_val=X[80:], y_val=Y[80:])
    found = est.predict_frame(X[80:])
    expected = np.mean(
        [
            balanced_accuracy_score(Y["big"][80:], found["big"]),
            r2_score(Y["number"][80:], found["number"]),
        ]
    )
    assert est.best_validation_score_ == pytest.approx(expected, rel=1e-5)


def test_weights_count_in_the_metric():
    w = np.where(np.arange(len(X)) % 2, 1.0, 3.0)
    est = classifier(validation_metric="accuracy")
    est.fit(X[TRAIN], Y[TRAIN], **VALID, sample_weight_val=w[HELD])
    right, seen = est.predict(X[HELD]) == Y[HELD], ~np.isnan(Y[HELD])
    weight = w[HELD, None] * seen
    expected = ((right * weight).sum(axis=0) / weight.sum(axis=0)).mean()
    assert est.best_validation_score_ == pytest.approx(expected)


@pytest.mark.parametrize(
    "settings", [{}, {"n_estimators": 3}, {"early_stopping": True}]
)
def test_few_rows_are_held_out_where_a_metric_is_named(settings):
    plain = classifier(**settings).fit(X[:45], Y[:45])
    asked = classifier(**settings, validation_metric="accuracy").fit(X[:45], Y[:45])
    stopped_before = "early_stopping" in settings
    assert hasattr(plain, "validation_scores_") == stopped_before
    assert len(asked.validation_scores_) == asked.n_iter_


@pytest.mark.parametrize("resampling", ["crossfit", "bootstrap"])
def test_members_stop_by_the_metric_stacked_or_in_turns(monkeypatch, resampling):
    est = classifier(
        n_estimators=3,
        resampling=resampling,
        validation_metric="roc_auc_ovr",
        n_iter_no_change=3,
        precision="float64",
    )
    stacked = clone(est).fit(X, Y)
    assert stacked.net_.stacked
    with monkeypatch.context() as patch:
        patch.setattr(MembersNet, "_may_stack", lambda self: False)
        turns = clone(est).fit(X, Y)
    assert stacked.n_iter_ == turns.n_iter_ < 25
    np.testing.assert_allclose(stacked.validation_scores_, turns.validation_scores_)
    for p, q in zip(stacked.predict_proba(X), turns.predict_proba(X), strict=True):
        np.testing.assert_allclose(p, q, atol=1e-7)


# ------------------------------------------------------------------- tasks that stop
class Snapshots(Callback):
    """Keep the heads, and any stacks of parameters, after each epoch."""

    def on_train_begin(self, net, **kwargs):
        self.states = []

    def on_epoch_end(self, net, **kwargs):
        state = net.module_.state_dict()
        self.states.append({name: v.clone() for name, v in state.items()})


def stopping(sharing, **settings):
    snapshots = Snapshots()
    settings = {"n_iter_no_change": 3, "max_iter": 40, **settings}
    est = classifier(
        sharing=sharing, stop_tasks=True, callbacks=[snapshots], **settings
    ).fit(X[TRAIN], Y[TRAIN], **VALID)
    return est, snapshots.states


@pytest.mark.parametrize("sharing", ["hard", "independent", "mmoe", "ple"])
def test_a_stopped_task_keeps_its_own_parameters_and_weighs_nothing(sharing):
    est, states = stopping(sharing)
    stopped = np.array(est.history_[:, "stopped_tasks"])
    assert (np.diff(stopped, axis=0) >= 0).all()
    weights = np.array(est.history_[:, "train_weights"])
    assert ((weights[1:] == 0) == stopped[:-1]).all()
    t = int(stopped[-2].argmax())
    first = int(stopped[:, t].argmax())
    assert stopped[first, t] == 1
    assert first < len(states) - 1
    own = est.module_.heads.task_of_output.numpy() == t
    for name, of_task in [("heads.weight", own), ("heads.bias", own)]:
        before, after = states[first][name], states[-1][name]
        torch.testing.assert_close(after[of_task], before[of_task], rtol=0, atol=0)
        assert (after[~of_task] != before[~of_task]).any()
    if sharing == "independent":  # nor does what nobody shares with it
        names = [n for n in states[0] if n.startswith("sharing") and "weight" in n]
        for name in names:
            before, after = states[first][name], states[-1][name]
            torch.testing.assert_close(after[t], before[t], rtol=0, atol=0)
        assert names


def test_each_task_stops_by_its_own_score():
    est, _ = stopping("hard", tol=0.0)
    scores = np.array(est.history_[:, "valid_scores"])
    stopped = np.array(est.history_[:, "stopped_tasks"])
    for of_task, when in zip(scores.T, stopped.T, strict=True):
        best = np.maximum.accumulate(of_task)
        improved = np.r_[True, of_task[1:] > best[:-1]]
        waited, expected = 0, []
        for new in improved:
            waited = 0 if new else waited + 1
            expected.append(waited >= 3)
        np.testing.assert_array_equal(when, np.maximum.accumulate(expected))


def test_training_ends_where_no_task_is_left():
    est, _ = stopping("independent", n_iter_no_change=1)
    assert est.n_iter_ < 40
    last = est.history_[-1, "stopped_tasks"]
    ended_by_all = np.mean(last) == 1
    ended_by_mean = np.argmax(est.validation_scores_) < est.n_iter_ - 1
    assert ended_by_all or ended_by_mean


@pytest.mark.parametrize("weighting", ["equal", "uncertainty", "dwa", "pcgrad"])
@pytest.mark.parametrize("n_estimators", [1, 2])
def test_waiting_for_ever_stops_no_task(weighting, n_estimators):
    settings = {"n_iter_no_change": np.inf, "max_iter": 6, "n_estimators": n_estimators}
    plain = classifier(weighting=weighting, **settings)
    asked = clone(plain).set_params(stop_tasks=True).fit(X, Y)
    plain.fit(X, Y) if n_estimators > 1 else plain.set_params(early_stopping=True).fit(
        X, Y
    )
    assert not np.any(asked.history_[:, "stopped_tasks"])
    for p, q in zip(plain.predict_proba(X), asked.predict_proba(X), strict=True):
        np.testing.assert_allclose(p, q, atol=1e-6)


@pytest.mark.parametrize("weighting", ["uncertainty", "pcgrad", "upgrad", "gradnorm"])
def test_tasks_stop_under_every_kind_of_weighting(weighting):
    est, _ = stopping("hard", weighting=weighting)
    stopped = np.array(est.history_[:, "stopped_tasks"])
    weights = np.array(est.history_[:, "train_weights"])
    assert stopped.any()
    assert (weights[1:][stopped[:-1] > 0] == 0).all()
    assert np.isfinite(est.loss_curve_).all()


def test_tasks_stop_in_each_member():
    est = classifier(n_estimators=3, stop_tasks=True, n_iter_no_change=2, max_iter=30)
    est.fit(X, Y)
    stopped = np.array(est.history_[:, "stopped_tasks"])
    assert not est.net_.stacked
    assert set((stopped * 3).round(6).ravel()) <= {0.0, 1.0, 2.0, 3.0}
    assert stopped.any()


# ---------------------------------------------------------------- as an estimator's
def test_parameters_can_be_searched_and_the_data_is_not_kept():
    grid = {"validation_metric": ["loss", "accuracy"], "stop_tasks": [False, True]}
    search = GridSearchCV(classifier(max_iter=3), grid, cv=KFold(2)).fit(X, Y)
    assert np.isfinite(search.cv_results_["mean_test_score"]).all()
    est = classifier(validation_metric="accuracy", max_iter=3).fit(X, Y)
    assert est.net_.loop_ is None
    again = pickle.loads(pickle.dumps(est))
    np.testing.assert_array_equal(again.predict(X), est.predict(X))
    assert again.best_validation_score_ == est.best_validation_score_


def test_one_pass_holds_nothing_out():
    est = classifier(validation_metric="accuracy", stop_tasks=True)
    est.partial_fit(X, Y, classes=[[0, 1], [0, 1, 2], [0, 1]])
    assert not hasattr(est, "validation_scores_")


def test_training_on_goes_by_the_metric_too():
    est = classifier(validation_metric="accuracy", warm_start=True, max_iter=3)
    est.fit(X, Y).fit(X, Y)
    assert len(est.validation_scores_) == est.n_iter_ == 6


def refused(words, X=X, Y=Y, **settings):
    est = classifier(**settings)
    with pytest.raises(ValueError, match=words):
        est.fit(X, Y)
    assert not hasattr(est, "net_")


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"validation_metric": "nonsense"}, "'validation_metric' parameter must be"),
        ({"validation_metric": "r2"}, "'r2' is for regression, but task 'task0'"),
        ({"validation_metric": "roc_auc"}, "'roc_auc' is for two classes, but task"),
        (
            {"validation_metric": {"task0": "accuracy"}},
            "'validation_metric' parameter gives no metric for task 'task1'",
        ),
        ({"validation_average": "mean"}, "'validation_average' parameter"),
        ({"validation_average": 3}, "'validation_average' parameter"),
        (
            {"validation_average": "task0", "task_weight": [0, 1, 1]},
            "is task 'task0', which does not train",
        ),
        (
            {"validation_metric": "accuracy", "early_stopping": False},
            "'validation_metric' parameter is for rows that are held out",
        ),
        ({"stop_tasks": True, "early_stopping": False}, "'stop_tasks' parameter is"),
    ],
)
def test_bad_parameters_are_refused_before_training(settings, words):
    refused(words, **settings)


def test_rows_that_tell_nothing_are_refused():
    est = classifier(validation_metric="roc_auc_ovr")
    ones = np.ones((50, 3))
    with pytest.raises(ValueError, match="cannot score any task on the 50 rows"):
        est.fit(X[TRAIN], Y[TRAIN], X_val=X[HELD], y_val=ones)
    hidden = Y[HELD].copy()
    hidden[:, 2] = np.nan
    est = classifier(validation_average="task2")
    with pytest.raises(ValueError, match="cannot score 'task2' on the"):
        est.fit(X[TRAIN], Y[TRAIN], X_val=X[HELD], y_val=hidden)


def test_a_metric_without_weights_refuses_them():
    est = classifier(validation_metric=lambda y, z: float(np.mean(y == z)))
    with pytest.raises(ValueError, match="takes no weights"):
        est.fit(X, Y, sample_weight=np.ones(len(X)))
    est.fit(X, Y)


def test_held_out_rows_may_lack_classes_that_are_predicted():
    y = np.array([0, 1] * 10 + [2] * 20)
    y_val = np.array([0, 1] * 5)
    settings = {
        "encoder": plain_mlp((4,)),
        "max_iter": 2,
        "random_state": 0,
        "n_estimators": 1,
    }
    est = MultiTaskClassifier(validation_metric="balanced_accuracy", **settings)
    est.fit(np.zeros((40, 1)), y, X_val=np.zeros((10, 1)), y_val=y_val)
    assert est.validation_scores_ == [0.0, 0.0]


def test_one_held_out_row_has_no_r2():
    est = MultiTaskRegressor(validation_metric="r2", n_estimators=1, random_state=0)
    with pytest.raises(ValueError, match="cannot score any task on the 1 rows that ar"):
        est.fit([[0.0], [1.0]], [0.5, 1.0])
