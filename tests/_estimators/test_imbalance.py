"""Sampling and selection in the estimators."""

import pickle
import re
from itertools import cycle

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from scipy import sparse
from sklearn.base import clone
from sklearn.datasets import make_classification
from sklearn.metrics import balanced_accuracy_score, log_loss
from sklearn.model_selection import GridSearchCV, KFold
from sklearn.utils import check_random_state

from skmtl import MultiTaskClassifier, MultiTaskEstimator, MultiTaskRegressor
from skmtl._data.training_data import TrainingData
from skmtl._estimators.fitting.label_weights import SamplingWeights
from tests._networks import plain_mlp

N = 200
RNG = np.random.default_rng(0)
X, RARE = make_classification(
    N, 6, n_informative=4, weights=[0.95], class_sep=0.6, flip_y=0, random_state=0
)
THREE = np.searchsorted([-1.0, 1.0], X[:, 0])
Y = np.column_stack([RARE, THREE]).astype(float)
Y[RNG.random(N) < 0.8, 1] = np.nan  # tasks of different sizes
SETTINGS = {
    "encoder": plain_mlp((16,)),
    "n_estimators": 1,
    "max_iter": 6,
    "learning_rate_init": 0.02,
    "n_iter_no_change": np.inf,
    "early_stopping": False,
    "random_state": 0,
}
ESTIMATORS = {
    "classifier": (MultiTaskClassifier, Y),
    "regressor": (MultiTaskRegressor, np.column_stack([X[:, 0] ** 3, Y[:, 1]])),
    "both": (MultiTaskEstimator, np.column_stack([RARE, X[:, 1] ** 3])),
}
TOOLS = {
    "tasks": {"sampling": "tasks"},
    "classes": {"sampling": "classes"},
    "temperature": {"sampling": 2.0},
    "loss": {"hard_example_mining": "loss"},
    "margin": {"hard_example_mining": "margin", "hard_example_fraction": 0.3},
    "both": {"sampling": "classes", "hard_example_mining": "loss"},
}
tools = pytest.mark.parametrize("tool", TOOLS)
kinds = pytest.mark.parametrize("kind", ESTIMATORS)


def classifier(**kwargs):
    return MultiTaskClassifier(**SETTINGS | kwargs)


def outputs(est, data=X):
    return est._forward(data).numpy()


class Seen:
    """An augmentation that notes the first feature of the rows of each batch."""

    def __init__(self):
        self.batches = []

    def __call__(self, X):
        self.batches.append(X[:, 0].tolist())
        return X

    def __deepcopy__(self, memo):
        return self


def rows_seen(y, batch_size=50, **kwargs):
    """Return the numbers of the rows of each batch."""
    seen = Seen()
    numbered = np.column_stack([np.arange(len(y)), X[: len(y)]])
    settings = {"encoder": plain_mlp((4,), scale=None), "augmentation": seen, **kwargs}
    classifier(**settings, batch_size=batch_size).fit(numbered, y)
    return [np.array(batch, int) for batch in seen.batches[1:]]  # the first is a trial


# How often rows are drawn


def odds(labels, sampling, n_classes=(2, 3), weight=None, rows=None, trained=None):
    labels = [np.asarray(task) for task in labels]
    n = len(labels[0])
    data = TrainingData(np.zeros((n, 1)), labels, weight, np.arange(n))
    rows = np.arange(n) if rows is None else rows
    trained = np.ones(len(labels), bool) if trained is None else np.array(trained)
    return SamplingWeights(data, rows, n_classes, sampling, trained).from_labels(data)


APART = [np.array([0] * 6 + [1] * 2 + [-1] * 2), np.array([-1] * 8 + [0, 2])]


def test_tasks_get_equal_shares():
    assert_allclose(odds(APART, "tasks") / 10, [1 / 16] * 8 + [1 / 4] * 2)


def test_classes_of_each_task_get_equal_shares():
    expected = [1 / 24] * 6 + [1 / 8] * 2 + [1 / 4] * 2
    assert_allclose(odds(APART, "classes") / 10, expected)


def test_temperature_one_draws_labels_alike_and_a_high_one_tasks():
    assert_allclose(odds(APART, 1.0), 1)
    assert_allclose(odds(APART, 1e12), odds(APART, "tasks"))
    shares = np.sqrt([8, 2]) / np.sqrt([8, 2]).sum()
    expected = [shares[0] / 8] * 8 + [shares[1] / 2] * 2
    assert_allclose(odds(APART, 2.0) / 10, expected)
    assert_allclose(odds(APART, 1e-3) / 10, [1 / 8] * 8 + [0, 0])  # no overflow


def test_a_row_gets_what_its_labels_get():
    both = [np.array([0, 0, 0, 1]), np.array([-1, 0, 1, 1])]
    expected = np.array([1, 1 + 3, 1 + 3 / 2, 3 + 3 / 2]) / 12
    assert_allclose(odds(both, "classes") / 4, expected)
    complete = [np.array([0, 0, 0, 1]), np.array([0, 2, 1, 1])]
    assert_allclose(odds(complete, "tasks"), 1)


def test_numbers_count_as_one_class():
    labels = [np.array([0, 0, 1, -1, -1]), np.array([np.nan] * 3 + [0.3, -2])]
    expected = [1 / 8] * 2 + [1 / 4] * 3
    assert_allclose(odds(labels, "classes", (2, 0)) / 5, expected)


def test_labels_without_weight_and_untrained_tasks_do_not_count():
    weight = np.ones((10, 2))
    weight[0, 0] = weight[9, 1] = 0
    weight[1, 0] = 100
    expected = [0] + [1 / 14] * 7 + [1 / 2, 0]
    assert_allclose(odds(APART, "tasks", weight=weight) / 10, expected)
    only_one = odds(APART, "tasks", trained=[False, True])
    assert_allclose(only_one / 10, [0] * 8 + [1 / 2] * 2)
    assert_allclose(odds(APART, "tasks", weight=weight * 0), 1)


def test_rows_held_out_get_the_odds_that_they_would_have():
    rows = np.array([0, 1, 2, 7, 8])
    found = odds(APART, "classes", rows=rows)
    assert_allclose(found[rows].mean(), 1)
    # A class without a label among the rows that are drawn from has none.
    assert_allclose(found / 5, [1 / 12] * 6 + [1 / 4] * 2 + [1 / 2, 0])


@pytest.mark.parametrize("batch_size", [40, N, 1000])
def test_epochs_hold_rare_classes_as_often_as_others(batch_size):
    batches = rows_seen(RARE, batch_size, sampling="classes", max_iter=50)
    assert sum(map(len, batches)) == 50 * N
    share = RARE[np.concatenate(batches)].mean()
    assert share == pytest.approx(0.5, abs=0.02)  # five standard deviations


def test_epochs_hold_rare_tasks_as_often_as_others():
    y = Y.copy()
    y[~np.isnan(Y[:, 1]), 0] = np.nan  # each row is of one task
    share = (~np.isnan(Y[:, 1])).mean()
    for sampling, expected in [
        ("tasks", 0.5),
        (1.0, share),
        (2.0, np.sqrt(share) / (np.sqrt(share) + np.sqrt(1 - share))),
    ]:
        drawn = np.concatenate(rows_seen(y, sampling=sampling, max_iter=50))
        found = (~np.isnan(Y[drawn, 1])).mean()
        assert found == pytest.approx(expected, abs=0.02)


def test_without_sampling_each_epoch_holds_every_row_once():
    batches = rows_seen(RARE, N, max_iter=3)
    assert all(sorted(batch) == list(range(N)) for batch in batches)


def test_sampling_does_not_ask_shuffle():
    batches = rows_seen(RARE, N, max_iter=2, sampling="tasks", shuffle=False)
    assert batches[0].tolist() != batches[1].tolist()


def test_training_starts_from_the_classes_drawn():
    est = classifier(sampling="classes").fit(X, RARE)
    assert_allclose(est.module_.heads.prior, 0, atol=1e-6)
    est = classifier().fit(X, RARE)
    assert_allclose(est.module_.heads.prior, np.log(RARE.mean() / (1 - RARE.mean())))


@pytest.mark.parametrize("held_out", [False, True])
def test_validation_is_on_the_distribution_that_trains(held_out):
    """It is where balanced class weights would have it, up to their total."""
    settings = {"sampling": "classes", "max_iter": 1, "early_stopping": True}
    if held_out:
        settings |= {"validation_fraction": 0.5}
        est = classifier(**settings).fit(X, RARE)
        # Rows of the split: those that change nothing else.
        _, checks = _rows(est)
        rows = checks.index.numpy()
        counts = np.bincount(np.delete(RARE, rows))
    else:
        est = classifier(**settings).fit(X, RARE, X_val=X[::3], y_val=RARE[::3])
        rows, counts = np.arange(0, N, 3), np.bincount(RARE)
    loss = log_loss(
        RARE[rows],
        est.predict_proba(X[rows]),
        sample_weight=(1 / counts)[RARE[rows]],
    )
    assert est.history_[-1]["valid_loss"] == pytest.approx(loss)


def _rows(est):
    """Return the rows that a fit of the estimator trains and validates on."""
    none = (None, None, None)
    random_state = check_random_state(est.random_state)
    job = clone(est)._prepare(random_state, X, RARE, None, none, resume=False)
    return job.make_training_rows(est.net_)


# What both tools do


@kinds
@tools
@pytest.mark.sampled(2)
def test_tools_change_what_is_learned_and_a_seed_repeats_it(kind, tool):
    cls, y = ESTIMATORS[kind]
    plain = cls(**SETTINGS).fit(X, y)
    est = cls(**SETTINGS, **TOOLS[tool]).fit(X, y)
    assert abs(outputs(est) - outputs(plain)).max() > 1e-3
    again = clone(est).fit(X, y)
    assert_array_equal(outputs(again), outputs(est))
    restored = pickle.loads(pickle.dumps(est))
    assert_array_equal(outputs(restored), outputs(est))
    other = clone(est).set_params(random_state=1).fit(X, y)
    assert abs(outputs(other) - outputs(est)).max() > 1e-3


@pytest.mark.parametrize(
    ("tool", "batch_size"), list(zip(TOOLS, cycle([32, 1000]), strict=False))
)
def test_inputs_in_files_and_sparse_ones_give_the_same(tool, batch_size, tmp_path):
    mapped = np.memmap(tmp_path / "X.bin", X.dtype, "w+", shape=X.shape)
    mapped[:] = X
    settings = TOOLS[tool] | {"batch_size": batch_size}
    expected = outputs(classifier(**settings).fit(X, Y))
    for data in (mapped, sparse.csr_array(X)):
        found = outputs(classifier(**settings).fit(data, Y))
        assert_allclose(found, expected, rtol=1e-6, atol=1e-8)


@tools
def test_a_label_of_weight_zero_is_a_missing_label(tool):
    weight = (RNG.random(Y.shape) < 0.7).astype(float)
    est = classifier(**TOOLS[tool]).fit(X, Y, sample_weight=weight)
    other = classifier(**TOOLS[tool]).fit(X, np.where(weight, Y, np.nan))
    assert_allclose(outputs(est), outputs(other), rtol=1e-6, atol=1e-8)


@tools
def test_training_goes_on_with_and_without(tool):
    est = classifier(**TOOLS[tool], warm_start=True).fit(X, Y).fit(X, Y)
    assert est.n_iter_ == 12
    est.set_params(sampling=None, hard_example_mining=None).fit(X, Y)
    plain = classifier(**TOOLS[tool], warm_start=True).fit(X, Y).fit(X, Y).fit(X, Y)
    assert abs(outputs(est) - outputs(plain)).max() > 1e-4


@tools
def test_passes_may_bring_few_rows_each(tool):
    est = classifier(**TOOLS[tool])
    est.partial_fit(X[:50], Y[:50], classes=[[0, 1], [0, 1, 2]])
    for rows in np.array_split(np.arange(50, N), 10):
        est.partial_fit(X[rows], Y[rows])
    y = np.full((9, 2), np.nan)
    y[3, 1] = 1  # a single label
    est.partial_fit(X[:9], y)
    assert est.n_iter_ == 12
    assert np.isfinite(outputs(est)).all()


@pytest.mark.parametrize(
    ("tool", "augmentation"), list(zip(TOOLS, cycle(["noise", "mixup"]), strict=False))
)
def test_tools_work_on_augmented_batches(tool, augmentation):
    est = classifier(**TOOLS[tool], augmentation=augmentation).fit(X, Y)
    assert np.isfinite(est.loss_curve_).all()
    assert est.score(X, Y) > 0.4
    plain = classifier(augmentation=augmentation).fit(X, Y)
    assert abs(outputs(est) - outputs(plain)).max() > 1e-3


@pytest.mark.parametrize("tool", ["classes", "both"])
def test_a_rare_class_is_found_more_often(tool):
    def score(**kwargs):
        est = classifier(**kwargs, max_iter=30).fit(X[::2], RARE[::2])
        return balanced_accuracy_score(RARE[1::2], est.predict(X[1::2]))

    assert score(**TOOLS[tool]) > score() + 0.1


# Selection


def test_the_training_loss_is_that_of_the_labels_kept():
    settings = {"max_iter": 2, "batch_size": N, "early_stopping": False}
    every = classifier(**settings).fit(X, Y).loss_curve_
    few = {"hard_example_mining": "loss", "hard_example_fraction": 0.1}
    kept = classifier(**settings, **few).fit(X, Y).loss_curve_
    # In the first step all labels of a class are equally hard: none is left out.
    assert kept[0] == pytest.approx(every[0])
    assert kept[1] > 1.2 * every[1]


def test_validation_takes_all_labels():
    settings = {"hard_example_mining": "loss", "max_iter": 1, "early_stopping": True}
    est = classifier(**settings).fit(X, RARE, X_val=X, y_val=RARE)
    loss = log_loss(RARE, est.predict_proba(X))
    assert est.history_[-1]["valid_loss"] == pytest.approx(loss)


def test_keeping_all_labels_is_no_selection():
    est = classifier(hard_example_mining="margin", hard_example_fraction=1).fit(X, Y)
    assert_allclose(outputs(est), outputs(classifier().fit(X, Y)), atol=1e-9)


@kinds
@pytest.mark.parametrize("by", ["loss", "margin"])
def test_integer_weights_are_repeated_rows(kind, by):
    cls, y = ESTIMATORS[kind]
    settings = SETTINGS | {"hard_example_mining": by, "batch_size": 1000}
    times = np.random.default_rng(1).integers(0, 4, N)
    est = cls(**settings).fit(X, y, sample_weight=times)
    rows = np.repeat(np.arange(N), times)
    other = cls(**settings).fit(X[rows], y[rows])
    assert_allclose(outputs(est), outputs(other), rtol=1e-6, atol=1e-8)


def test_class_weights_keep_their_meaning():
    balanced = classifier(hard_example_mining="loss", class_weight="balanced").fit(
        X, RARE
    )
    counts = np.bincount(RARE)
    given = dict(enumerate(N / (2 * counts)))
    same = classifier(hard_example_mining="loss", class_weight=given).fit(X, RARE)
    assert_allclose(outputs(balanced), outputs(same))
    plain = classifier(hard_example_mining="loss").fit(X, RARE)
    assert abs(outputs(balanced) - outputs(plain)).max() > 1e-2


# Settings


def test_a_grid_reaches_both():
    grid = {"sampling": [None, "classes", 2.0], "hard_example_mining": [None, "loss"]}
    search = GridSearchCV(classifier(max_iter=2), grid, cv=KFold(2)).fit(X, Y)
    assert len(search.cv_results_["params"]) == 6
    assert np.isfinite(search.cv_results_["mean_test_score"]).all()


@kinds
@pytest.mark.parametrize(
    ("setting", "allowed"),
    [
        ({"sampling": "rows"}, "a str among {'"),
        ({"sampling": 0}, "a float in the range (0.0, inf)"),
        ({"sampling": -1.0}, "a float in the range (0.0, inf)"),
        ({"hard_example_mining": "gradient"}, "a str among {'"),
        ({"hard_example_fraction": 0.0}, "a float in the range (0.0, 1.0]"),
        ({"hard_example_fraction": 1.1}, "a float in the range (0.0, 1.0]"),
    ],
)
def test_bad_settings_are_refused(kind, setting, allowed):
    cls, y = ESTIMATORS[kind]
    (name,) = setting
    message = f"The '{name}' parameter of {cls.__name__} must be .*{re.escape(allowed)}"
    with pytest.raises(ValueError, match=message):
        cls(**setting).fit(X, y)
