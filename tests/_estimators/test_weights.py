"""Weights of rows, labels, classes and tasks."""

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.base import clone
from sklearn.datasets import load_diabetes, load_iris
from sklearn.metrics import accuracy_score, r2_score
from sklearn.utils.class_weight import compute_class_weight

from skmtl import MultiTaskClassifier, MultiTaskEstimator, MultiTaskRegressor
from skmtl.metrics import task_scores
from skmtl.metrics._metric import metric_names, named_metric
from tests._networks import plain_mlp

X, SPECIES = load_iris(return_X_y=True)
X = (X - X.mean(axis=0)) / X.std(axis=0)
Y = np.column_stack([SPECIES, X[:, 0] > 0])
RNG = np.random.RandomState(0)
COUNTS = RNG.randint(0, 3, 150)
SETTINGS = {
    "encoder": plain_mlp((16,)),
    "max_iter": 10,
    "learning_rate_init": 0.02,
    "random_state": 0,
    "early_stopping": False,
    "n_estimators": 1,
}
ESTIMATORS = {
    "classifier": (MultiTaskClassifier, Y),
    "regressor": (MultiTaskRegressor, X[:, 2:]),
    "both": (MultiTaskEstimator, np.column_stack([SPECIES, X[:, 3]])),
}
SHARINGS = ["hard", "independent", "additive"]


def classifier(**kwargs):
    return MultiTaskClassifier(**SETTINGS | kwargs)


def assert_same(est, other, **kwargs):
    kwargs = {"atol": 1e-9, **kwargs}
    if hasattr(est, "predict_proba"):
        for P, Q in zip(est.predict_proba(X), other.predict_proba(X), strict=True):
            if P is not None:
                assert_allclose(P, Q, **kwargs)
    frame, other_frame = est.predict_frame(X), other.predict_frame(X)
    for name in frame:
        assert_allclose(frame[name], other_frame[name], **kwargs)


@pytest.mark.parametrize("kind", ESTIMATORS)
@pytest.mark.parametrize("sharing", SHARINGS)
@pytest.mark.parametrize("batch_size", ["auto", 32])
@pytest.mark.parametrize("early_stopping", [False, True])
@pytest.mark.sampled(5)
def test_weight_zero_is_a_dropped_row(kind, sharing, batch_size, early_stopping):
    cls, y = ESTIMATORS[kind]
    settings = SETTINGS | {
        "sharing": sharing,
        "batch_size": batch_size,
        "early_stopping": early_stopping,
    }
    weight = (COUNTS > 0).astype(float)
    kept = weight > 0
    est = cls(**settings).fit(X, y, sample_weight=weight)
    other = cls(**settings).fit(X[kept], y[kept], sample_weight=weight[kept])
    assert_same(est, other)
    plain = cls(**settings).fit(X[kept], y[kept])
    assert_same(est, plain, rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("kind", ESTIMATORS)
@pytest.mark.parametrize("sharing", SHARINGS)
def test_integer_weights_are_repeated_rows(kind, sharing):
    cls, y = ESTIMATORS[kind]
    settings = SETTINGS | {"sharing": sharing, "batch_size": 500}
    est = cls(**settings).fit(X, y, sample_weight=COUNTS)
    rows = np.repeat(np.arange(150), COUNTS)
    other = cls(**settings).fit(X[rows], y[rows])
    assert_same(est, other, rtol=1e-6, atol=1e-8)


def test_only_ratios_of_weights_matter():
    est = classifier().fit(X, Y, sample_weight=COUNTS)
    other = classifier().fit(X, Y, sample_weight=COUNTS * 1e3)
    assert_same(est, other)


def test_weights_change_what_is_learned():
    est, other = classifier().fit(X, Y), classifier().fit(X, Y, sample_weight=COUNTS)
    difference = est.predict_proba(X)[0] - other.predict_proba(X)[0]
    assert abs(difference).max() > 1e-4


@pytest.mark.parametrize("kind", ESTIMATORS)
def test_weights_of_labels_equal_weights_of_rows_where_they_agree(kind):
    cls, y = ESTIMATORS[kind]
    est = cls(**SETTINGS).fit(X, y, sample_weight=COUNTS)
    other = cls(**SETTINGS).fit(X, y, sample_weight=np.column_stack([COUNTS] * 2))
    assert_same(est, other)
    assert est.score(X, y, COUNTS) == pytest.approx(
        est.score(X, y, np.column_stack([COUNTS] * 2))
    )


@pytest.mark.parametrize("kind", ESTIMATORS)
def test_a_label_of_weight_zero_is_a_missing_label(kind):
    cls, y = ESTIMATORS[kind]
    weight = RNG.randint(0, 2, y.shape)
    missing = np.where(weight, y, np.nan)
    est = cls(**SETTINGS).fit(X, y, sample_weight=weight)
    other = cls(**SETTINGS).fit(X, missing)
    assert_same(est, other, rtol=1e-6, atol=1e-8)
    assert est.score(X, y, weight) == pytest.approx(est.score(X, missing))


def test_a_class_of_weight_zero_is_no_class():
    weight = np.ones(Y.shape)
    weight[SPECIES == 1, 0] = 0
    est = classifier().fit(X, Y, sample_weight=weight)
    assert_array_equal(est.classes_[0], [0, 2])
    assert_array_equal(est.classes_[1], [0, 1])


def test_weights_of_labels_may_be_a_frame():
    weight = pd.DataFrame(RNG.rand(150, 2))
    est = classifier().fit(X, Y, sample_weight=weight)
    other = classifier().fit(X, Y, sample_weight=weight.to_numpy())
    assert_same(est, other)


@pytest.mark.parametrize("shape", [(150,), (150, 1)])
def test_weights_of_one_column(shape):
    est = classifier().fit(X, SPECIES, sample_weight=COUNTS.reshape(shape))
    other = classifier().fit(X, SPECIES[:, None], sample_weight=COUNTS.tolist())
    assert_array_equal(est.predict_proba(X), other.predict_proba(X))


def test_weights_stay_as_they_are():
    weight = COUNTS.astype(float)
    weight.setflags(write=False)
    before = weight.copy()
    classifier(class_weight="balanced").fit(X, Y, sample_weight=weight)
    assert_array_equal(weight, before)


def test_regression_scales_are_weighted():
    _, y = load_diabetes(return_X_y=True)
    weight = np.random.RandomState(0).rand(len(y))
    features = np.arange(len(y))[:, None] / len(y)
    est = MultiTaskRegressor(**SETTINGS).fit(features, y, sample_weight=weight)
    mean = np.average(y, weights=weight)
    assert est._targets.mean == pytest.approx(mean)
    variance = np.average((y - mean) ** 2, weights=weight)
    assert est._targets.scale**2 == pytest.approx(variance)


def test_scores_are_weighted():
    est = classifier(max_iter=2).fit(X, Y)
    prediction = est.predict(X)
    expected = [
        accuracy_score(Y[:, t], prediction[:, t], sample_weight=COUNTS)
        for t in range(2)
    ]
    assert est.score(X, Y, COUNTS) == pytest.approx(np.mean(expected))
    y = X[:, 2:]
    est = MultiTaskRegressor(**SETTINGS).fit(X, y)
    expected = r2_score(y, est.predict(X), sample_weight=COUNTS)
    assert est.score(X, y, COUNTS) == pytest.approx(expected)


def test_validation_losses_are_weighted():
    weight = COUNTS + 0.5
    est = classifier(early_stopping=True, max_iter=3).fit(
        X, Y, X_val=X, y_val=Y, sample_weight_val=weight
    )
    losses = est.history_[int(np.argmax(est.validation_scores_))]["valid_losses"]
    for t, P in enumerate(est.predict_proba(X)):
        expected = np.average(-np.log(P[np.arange(150), Y[:, t]]), weights=weight)
        assert losses[t] == pytest.approx(expected)


# Weights of classes


def balanced(y):
    weights = compute_class_weight("balanced", classes=np.unique(y), y=y)
    return weights[np.searchsorted(np.unique(y), y)]


RARE = np.column_stack([SPECIES, SPECIES > 0])


def test_balanced_classes_weigh_the_same_in_total():
    est = classifier(class_weight="balanced").fit(X, RARE)
    weight = np.column_stack([balanced(RARE[:, 0]), balanced(RARE[:, 1])])
    assert_same(est, classifier().fit(X, RARE, sample_weight=weight))
    assert est.history_[0]["train_losses"] == pytest.approx([np.log(3), np.log(2)])


def test_balanced_counts_labels_present_only():
    absent = RNG.rand(150) < 0.4
    y = RARE.astype(float)
    y[absent, 1] = np.nan
    weight = np.ones(y.shape)
    weight[~absent, 1] = balanced(y[~absent, 1])
    weight[:, 0] = balanced(y[:, 0])
    est = classifier(class_weight="balanced").fit(X, y)
    assert_same(est, classifier().fit(X, y, sample_weight=weight))


def test_balanced_counts_weights_of_rows():
    est = classifier(class_weight="balanced").fit(X, RARE, sample_weight=COUNTS)
    rows = np.repeat(np.arange(150), COUNTS)
    other = classifier(class_weight="balanced", batch_size=500)
    assert_same(
        est.set_params(batch_size=500).fit(X, RARE, sample_weight=COUNTS),
        other.fit(X[rows], RARE[rows]),
        rtol=1e-6,
    )


def test_a_dict_of_class_weights_serves_all_tasks():
    est = classifier(class_weight={1: 5}).fit(X, Y)
    weight = np.where(Y == 1, 5.0, 1.0)
    assert_same(est, classifier().fit(X, Y, sample_weight=weight))


@pytest.mark.parametrize("as_type", [list, tuple])
def test_class_weights_may_differ_between_tasks(as_type):
    est = classifier(class_weight=as_type([{2: 3, 0: 0.5}, None])).fit(X, Y)
    weight = np.ones(Y.shape)
    weight[:, 0] = np.array([0.5, 1, 3])[SPECIES]
    assert_same(est, classifier().fit(X, Y, sample_weight=weight))
    est = classifier(class_weight=as_type([None, "balanced"])).fit(X, RARE)
    weight = np.column_stack([np.ones(150), balanced(RARE[:, 1])])
    assert_same(est, classifier().fit(X, RARE, sample_weight=weight))


def test_class_weights_of_strings():
    names = np.array(["a", "b", "c"])
    est = classifier(class_weight={"b": 4}).fit(X, names[Y])
    other = classifier(class_weight={1: 4}).fit(X, Y)
    for P, Q in zip(est.predict_proba(X), other.predict_proba(X), strict=True):
        assert_array_equal(P, Q)


def test_a_class_of_class_weight_zero_stays_a_class_and_is_not_learned():
    est = classifier(class_weight=[{1: 0}, None]).fit(X, Y)
    assert_array_equal(est.classes_[0], [0, 1, 2])
    assert not (est.predict(X)[:, 0] == 1).any()


def test_class_weights_leave_regression_alone():
    y = np.column_stack([SPECIES, X[:, 3]])
    est = MultiTaskEstimator(**SETTINGS, class_weight={1: 5}).fit(X, y)
    weight = np.column_stack([np.where(SPECIES == 1, 5.0, 1), np.ones(150)])
    assert_same(est, MultiTaskEstimator(**SETTINGS).fit(X, y, sample_weight=weight))


# Weights of tasks


def test_task_weights_sum_to_the_number_of_tasks():
    est = classifier(task_weight=[3, 1]).fit(X, Y)
    assert_allclose(est.task_weights_, [1.5, 0.5])
    assert_allclose(classifier().fit(X, Y).task_weights_, [1, 1])


@pytest.mark.parametrize(
    "task_weight",
    [{"a": 3}, {"a": 6, "b": 2}, (3, 1), np.array([3.0, 1.0]), pd.Series([3, 1])],
    ids=lambda w: type(w).__name__,
)
def test_task_weights_come_in_several_forms(task_weight):
    y = pd.DataFrame(Y, columns=["a", "b"])
    est = classifier(task_weight=task_weight).fit(X, y)
    assert_same(est, classifier(task_weight=[3, 1]).fit(X, y))


def test_a_task_of_weight_zero_stays_untrained():
    est = classifier(task_weight=[1, 0], sharing="independent").fit(X, Y)
    frequency = np.bincount(Y[:, 1]) / 150
    assert_allclose(est.predict_proba(X)[1], [frequency] * 150, rtol=1e-6)
    assert est.loss_ == pytest.approx(est.history_[-1]["train_losses"][0])
    assert_allclose(est.task_weights_, [1, 0])


def test_a_task_of_weight_zero_does_not_touch_what_is_shared():
    est = classifier(task_weight=[1, 0]).fit(X, Y)
    other = classifier(task_weight=[1, 0]).fit(
        X, np.column_stack([SPECIES, Y[::-1, 1]])
    )
    assert_allclose(est.predict_proba(X)[0], other.predict_proba(X)[0], atol=1e-10)


def test_task_weights_change_with_warm_start():
    est = classifier(warm_start=True, max_iter=1).fit(X, Y)
    est.set_params(task_weight=[3, 1]).fit(X, Y)
    assert_allclose(est.task_weights_, [1.5, 0.5])


@pytest.mark.parametrize("precision", ["float32", "float64"])
@pytest.mark.parametrize("size", [2.0**-990, 2.0**-20, 2.0**20, 2.0**990])
def test_only_proportions_of_weights_matter_to_numbers(precision, size):
    settings = SETTINGS | {"max_iter": 2, "precision": precision}
    y, weights = X[:, 2:], np.linspace(0, 1, 150)
    est = MultiTaskRegressor(**settings, task_weight=[1, 3]).fit(X, y, weights)
    scaled = MultiTaskRegressor(**settings, task_weight=[size, 3 * size])
    assert_same(est, scaled.fit(X, y, size * weights), rtol=1e-6)


@pytest.mark.parametrize("kind", ESTIMATORS)
@pytest.mark.parametrize("precision", ["float32", "float64"])
@pytest.mark.parametrize("size", [1e-300, 1e300])
def test_weights_of_any_size_train(kind, precision, size):
    cls, y = ESTIMATORS[kind]
    settings = SETTINGS | {"max_iter": 20, "precision": precision}
    weights = size * np.linspace(0, 1, 150)
    est = cls(**settings, task_weight=[size, 3 * size]).fit(X, y, weights)
    assert est.loss_curve_[-1] < 0.6 * est.loss_curve_[0]
    assert est.score(X, y, weights) > 0.8


# A common factor of weights


FACTORS = [1 / 40, 1e-300, 1e300]
RARE_ROWS = np.random.RandomState(1).normal(size=(40, 3))
RARE_LABELS = np.column_stack([np.arange(40) < 4, np.arange(40) % 3])


def small(**kwargs):
    settings = {
        "encoder": plain_mlp((4,)),
        "max_iter": 2,
        "random_state": 0,
        "n_estimators": 1,
    }
    return MultiTaskClassifier(**settings | kwargs)


@pytest.mark.parametrize("factor", FACTORS)
@pytest.mark.parametrize("class_weight", [None, "balanced"])
def test_equal_weights_are_none(factor, class_weight):
    est = small(class_weight=class_weight)
    weighted = clone(est).fit(RARE_ROWS, RARE_LABELS, np.full(40, factor))
    assert_same_bits(weighted, est.fit(RARE_ROWS, RARE_LABELS))
    expected = 0.1 if class_weight is None else 0.5
    proba = weighted.predict_proba(RARE_ROWS)[0][:, 1]
    assert proba.mean() == pytest.approx(expected, abs=0.05)


def assert_same_bits(est, other):
    for P, Q in zip(
        est.predict_proba(RARE_ROWS), other.predict_proba(RARE_ROWS), strict=True
    ):
        assert_array_equal(P, Q)


@pytest.mark.parametrize("factor", FACTORS)
def test_a_common_factor_of_class_weights_is_no_matter(factor):
    fitted = [
        small(class_weight={0: c, 1: 2 * c, 2: 3 * c}).fit(RARE_ROWS, RARE_LABELS)
        for c in (1.0, factor)
    ]
    for P, Q in zip(*(est.predict_proba(RARE_ROWS) for est in fitted), strict=True):
        assert_allclose(P, Q, rtol=1e-5)


@pytest.mark.parametrize("factor", FACTORS)
@pytest.mark.parametrize("relation", ["mean_regularized", "trace_norm", "label_graph"])
def test_a_common_factor_of_weights_is_no_matter_to_relations(factor, relation):
    weight = np.random.RandomState(0).rand(40)
    fitted = [
        small(relation=relation).fit(RARE_ROWS, RARE_LABELS, c * weight)
        for c in (1.0, factor)
    ]
    for P, Q in zip(*(est.predict_proba(RARE_ROWS) for est in fitted), strict=True):
        assert_allclose(P, Q, rtol=1e-5)


@pytest.mark.parametrize("factor", FACTORS)
@pytest.mark.parametrize("times", [[1.0, 1.0], [1.0, 3.0], [0.7, 1.3]])
def test_a_common_factor_of_weights_is_no_matter_to_categories(factor, times):
    words = pd.DataFrame({"x": ["a"] * 30 + ["b"] * 7 + ["c"] * 3})
    weight = np.resize(times, 40)
    encoder = plain_mlp((4,), min_frequency=5)
    fitted = [
        small(encoder=encoder).fit(words, RARE_LABELS, c * weight)
        for c in (1.0, factor)
    ]
    for P, Q in zip(*(est.predict_proba(words) for est in fitted), strict=True):
        assert_allclose(P, Q, rtol=1e-5)


@pytest.mark.parametrize("factor", FACTORS)
def test_a_common_factor_of_weights_is_no_matter_to_validation_sets(factor):
    weight = np.random.RandomState(0).rand(40)
    args = {"X_val": RARE_ROWS, "y_val": RARE_LABELS}
    losses = [
        small()
        .fit(RARE_ROWS, RARE_LABELS, sample_weight_val=c * weight, **args)
        .history_[-1]["valid_losses"]
        for c in (1.0, factor)
    ]
    assert losses[0] == pytest.approx(losses[1], rel=1e-6)


@pytest.mark.parametrize("factor", FACTORS)
def test_each_call_of_partial_fit_may_have_weights_of_its_own_unit(factor):
    weight = np.random.RandomState(0).rand(40)
    classes, fitted = [[False, True], [0, 1, 2]], []
    for c in (1.0, factor):
        est = small().partial_fit(RARE_ROWS, RARE_LABELS, classes, weight)
        fitted.append(est.partial_fit(RARE_ROWS, RARE_LABELS, sample_weight=c * weight))
    for P, Q in zip(*(est.predict_proba(RARE_ROWS) for est in fitted), strict=True):
        assert_allclose(P, Q, rtol=1e-5)


@pytest.mark.parametrize("factor", FACTORS)
def test_a_common_factor_of_weights_is_no_matter_to_what_is_out_of_fold(factor):
    rng = np.random.RandomState(0)
    X, weight = rng.normal(size=(60, 3)), rng.rand(60, 2)
    y = np.column_stack([X[:, 0] + rng.normal(size=60) > 0.5, rng.randint(0, 3, 60)])
    settings = {"n_estimators": 2, "threshold": "matthews_corrcoef", "max_iter": 3}
    first, second = (small(**settings).fit(X, y, c * weight) for c in (1.0, factor))
    assert_allclose(first.thresholds_, second.thresholds_, rtol=1e-3)
    regions = (est.predict_set(X, 0.8) for est in (first, second))
    for one, other in zip(*regions, strict=True):
        assert_array_equal(one, other)


WEIGHTED = [m for m in metric_names() if named_metric(m).accepts("sample_weight")]
WEIGHTED.remove("top_k_accuracy")  # which warns of two classes


@pytest.mark.parametrize("factor", [1e-300, 1e300])
@pytest.mark.parametrize("metric", WEIGHTED)
def test_a_common_factor_of_weights_is_no_matter_to_metrics(factor, metric):
    rng = np.random.RandomState(0)
    weight, y, y_pred = rng.rand(30), np.arange(30) % 2, rng.rand(30)
    known = named_metric(metric)
    if known.of_labels and known.kind == "classification":
        y_pred = (y_pred > 0.4).astype(int)
    elif known.kind == "regression":
        y = 1.0 + y
    first, second = (
        task_scores(y, y_pred, metric, sample_weight=c * weight) for c in (1.0, factor)
    )
    assert_allclose(first, second, rtol=1e-9)


def test_class_weights_by_task_name():
    y = pd.DataFrame(RARE_LABELS, columns=["rare", "three"]).astype(int)
    est = small(class_weight={"three": {1: 5}}).fit(RARE_ROWS, y)
    assert_same_bits(est, small(class_weight=[None, {1: 5}]).fit(RARE_ROWS, y))
    est = small(class_weight={"rare": "balanced", "three": None}).fit(RARE_ROWS, y)
    assert_same_bits(est, small(class_weight=["balanced", None]).fit(RARE_ROWS, y))


def test_class_weights_may_name_more_than_all_classes():
    est = small(class_weight={0: 2, 1: 1, 2: 1}).fit(RARE_ROWS, RARE_LABELS)
    other = small(class_weight={0: 2, 1: 1, 2: 1, 7: 9}).fit(RARE_ROWS, RARE_LABELS)
    assert_same_bits(est, other)


def test_one_task_alone_has_its_own_class_weights():
    est = small(class_weight={0: 2, 2: 3}).fit(RARE_ROWS, RARE_LABELS)
    alone = est.task_estimator(0).estimator
    assert alone.class_weight == {False: 2}
    alone.fit(RARE_ROWS, RARE_LABELS[:, 0])


def test_weights_of_tasks_may_be_far_apart():
    X, y = np.arange(6.0)[:, None], np.array([0.0, 1.0, 3.0, 2.0, 5.0, 4.0])
    Y = np.column_stack([y, y])
    settings = {"n_estimators": 1, "max_iter": 2, "random_state": 0}
    weight = np.column_stack([np.full(6, 2.0**690), [2.0**-460, 2.0**-459] * 3])
    found = MultiTaskRegressor(**settings).fit(X, Y, sample_weight=weight)
    near = np.column_stack([np.full(6, 2.0), [1.0, 2.0] * 3])
    expected = MultiTaskRegressor(**settings).fit(X, Y, sample_weight=near)
    assert_array_equal(found.predict(X), expected.predict(X))
