"""Labels of every kind go in and come out of the estimators."""

import datetime

import numpy as np
import pandas as pd
import polars as pl
import pytest
import torch
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.datasets import load_diabetes, load_iris, load_linnerud, load_wine
from sklearn.linear_model import LinearRegression
from sklearn.metrics import accuracy_score, r2_score

from skmtl import MultiTaskClassifier, MultiTaskEstimator, MultiTaskRegressor
from skmtl._data.labels import read_labels
from skmtl._data.output_kinds import group_tasks
from skmtl._data.targets import Targets
from skmtl.encoder import MLP

PLAIN = MLP((16,), dropout=0, numeric_embedding=None)
SMALL = {
    "encoder": PLAIN,
    "n_estimators": 1,
    "early_stopping": False,
    "random_state": 0,
}
X, SPECIES = load_iris(return_X_y=True)
X = (X - X.mean(axis=0)) / X.std(axis=0)
BIG = (X[:, 0] > 0).astype(int)
Y = np.column_stack([SPECIES, BIG])


def classifier(**kwargs):
    settings = {"max_iter": 30, "learning_rate_init": 0.02, **SMALL}
    return MultiTaskClassifier(**settings | kwargs)


REFERENCE = classifier().fit(X, Y)
LETTERS = np.array(["ant", "bee", "caterpillar"])


def same_as_reference(est, to_label):
    """Hold labels and probabilities against those of the integer-coded targets."""
    codes = REFERENCE.predict(X)
    for P, Q in zip(est.predict_proba(X), REFERENCE.predict_proba(X), strict=True):
        assert_allclose(P, Q, atol=1e-12)
    prediction = est.predict(X)
    for t in range(2):
        expected = [to_label[t](code) for code in codes[:, t]]
        assert prediction[:, t].tolist() == expected
    return prediction


def test_integer_labels_are_learned_and_come_back():
    prediction = REFERENCE.predict(X)
    assert prediction.shape == (150, 2)
    assert prediction.dtype == Y.dtype
    assert accuracy_score(SPECIES, prediction[:, 0]) > 0.9
    assert REFERENCE.score(X, Y) == pytest.approx((prediction == Y).mean())


@pytest.mark.parametrize(
    "dtype",
    [np.int8, np.uint8, np.int32, np.uint64, np.float16, np.float32, np.float64],
)
def test_numeric_arrays_come_back_in_their_type(dtype):
    est = classifier().fit(X, Y.astype(dtype))
    prediction = same_as_reference(est, [int, int])
    assert prediction.dtype == dtype
    assert [c.dtype for c in est.classes_] == [dtype, dtype]


def test_bool_arrays_come_back_as_bools():
    y = np.column_stack([SPECIES > 0, BIG > 0])
    prediction = classifier().fit(X, y).predict(X)
    assert prediction.dtype == bool
    assert (prediction == y).mean() > 0.9


@pytest.mark.parametrize("dtype", [str, object])
def test_string_arrays_come_back_as_strings(dtype):
    y = LETTERS[Y].astype(dtype)
    est = classifier().fit(X, y)
    prediction = same_as_reference(est, [LETTERS.__getitem__] * 2)
    assert prediction.dtype == y.dtype
    assert est.classes_[0].tolist() == LETTERS.tolist()
    assert est.score(X, y) == REFERENCE.score(X, Y)


def test_lists_of_rows_that_mix_kinds_come_back_mixed():
    y = [[str(LETTERS[s]), bool(b)] for s, b in Y]
    est = classifier().fit(X, y)
    prediction = same_as_reference(est, [LETTERS.__getitem__, bool])
    assert prediction.dtype == object
    assert {type(v) for v in prediction[:, 0]} == {str}
    assert {type(v) for v in prediction[:, 1]} == {bool}
    assert est.score(X, y) == REFERENCE.score(X, Y)


def test_object_arrays_that_mix_kinds_between_columns():
    y = np.empty((150, 2), dtype=object)
    y[:, 0], y[:, 1] = SPECIES.tolist(), [bool(b) for b in BIG]
    est = classifier().fit(X, y)
    prediction = same_as_reference(est, [int, bool])
    assert {type(v) for v in prediction[:, 0]} == {int}
    assert {type(v) for v in prediction[:, 1]} == {bool}
    assert [c.dtype.kind for c in est.classes_] == ["i", "b"]


FRAMES = {
    "category of strings": lambda: pd.Categorical(LETTERS[SPECIES]),
    "category with classes that do not occur": lambda: pd.Categorical(
        LETTERS[SPECIES], categories=["aardvark", *LETTERS, "zebra"], ordered=True
    ),
    "string": lambda: pd.array(LETTERS[SPECIES], dtype="string"),
    "object": lambda: LETTERS[SPECIES].astype(object),
}


@pytest.mark.parametrize("kind", FRAMES)
def test_frames_of_strings(kind):
    y = pd.DataFrame({"insect": FRAMES[kind](), "big": BIG > 0})
    est = classifier().fit(X, y)
    same_as_reference(est, [LETTERS.__getitem__, bool])
    assert est.task_names_ == ["insect", "big"]
    assert est.classes_[0].tolist() == LETTERS.tolist()
    frame = est.predict_frame(X)
    assert list(frame.columns) == ["insect", "big"]
    assert frame["big"].dtype == bool
    assert frame["insect"].isin(LETTERS).all()
    assert est.score(X, y) == REFERENCE.score(X, Y)


@pytest.mark.parametrize(
    ("column", "dtype"),
    [
        (pd.array(SPECIES, dtype="Int64"), "int64"),
        (pd.array(SPECIES, dtype="UInt8"), "uint8"),
        (pd.Categorical(SPECIES), "int64"),
        (pd.Categorical(SPECIES, categories=[9, 2, 1, 0]), "int64"),
        (SPECIES.astype(np.uint8), "uint8"),
        (SPECIES.astype(float), "float64"),
        (SPECIES.astype(object), "int64"),
    ],
    ids=["Int64", "UInt8", "category", "unused", "uint8", "float", "object"],
)
def test_frames_of_numbers_and_bools_keep_each_type(column, dtype):
    y = pd.DataFrame({"s": column, "b": pd.array(BIG > 0, dtype="boolean")})
    est = classifier().fit(X, y)
    same_as_reference(est, [int, bool])
    assert est.classes_[0].tolist() == [0, 1, 2]
    assert est.predict_frame(X).dtypes.astype(str).tolist() == [dtype, "bool"]


def test_polars_frames_give_names_and_types():
    y = pl.DataFrame({"insect": LETTERS[SPECIES].tolist(), "big": (BIG > 0).tolist()})
    est = classifier().fit(X, y)
    same_as_reference(est, [LETTERS.__getitem__, bool])
    assert est.task_names_ == ["insect", "big"]
    assert est.score(X, y) == REFERENCE.score(X, Y)


def test_a_polars_frame_may_be_x_too():
    columns = list("abcd")
    est = classifier().fit(pl.DataFrame(X, schema=columns), pl.DataFrame(Y))
    assert est.feature_names_in_.tolist() == columns
    assert_array_equal(
        est.predict(pl.DataFrame(X, schema=columns)), REFERENCE.predict(X)
    )


def test_torch_tensors_may_be_x_and_y():
    est = classifier().fit(torch.from_numpy(X).requires_grad_(), torch.from_numpy(Y))
    prediction = est.predict(torch.from_numpy(X))
    assert isinstance(prediction, np.ndarray)
    assert_array_equal(prediction, REFERENCE.predict(X))


@pytest.mark.parametrize("unit", ["D", "s", "ns"])
def test_dates_may_be_labels(unit):
    days = np.array(["2026-01-01", "2026-02-01", "2026-03-01"], dtype=f"M8[{unit}]")
    y = days[Y]
    est = classifier().fit(X, y)
    prediction = est.predict(X)
    assert prediction.dtype == y.dtype
    assert_array_equal(prediction, days[REFERENCE.predict(X)])
    mixed = pd.DataFrame({"day": days[SPECIES], "big": BIG})
    est = classifier().fit(X, mixed)
    assert_array_equal(est.predict(X)[:, 0].astype(days.dtype), prediction[:, 0])
    assert isinstance(est.predict(X)[0, 0], np.datetime64 | datetime.date)
    assert est.predict_frame(X)["day"].dtype.kind == "M"
    assert est.score(X, mixed) == REFERENCE.score(X, Y)


@pytest.mark.parametrize(
    "y",
    [
        SPECIES,
        SPECIES.tolist(),
        SPECIES.astype(np.uint8),
        SPECIES.astype(float),
        pd.Series(SPECIES, name="species"),
        pd.Series(SPECIES, index=np.arange(150)[::-1]),
        pd.Series(SPECIES, dtype="Int64"),
        pd.Series(SPECIES, dtype="category"),
        pl.Series("species", SPECIES),
        SPECIES[:, None],
        pd.DataFrame({"species": SPECIES}),
    ],
    ids=lambda y: f"{type(y).__name__}-{getattr(y, 'dtype', '')}-{np.ndim(y)}",
)
def test_one_column_behaves_as_in_any_classifier(y):
    est = classifier().fit(X, y)
    assert est.predict(X).shape == (150,)
    assert isinstance(est.classes_, np.ndarray)
    assert_array_equal(est.classes_, [0, 1, 2])
    assert est.n_classes_ == 3
    assert est.predict_proba(X).shape == est.predict_log_proba(X).shape == (150, 3)
    assert_allclose(np.exp(est.predict_log_proba(X)), est.predict_proba(X))
    assert est.score(X, y) == accuracy_score(SPECIES, est.predict(X)) > 0.9
    named = getattr(y, "name", None) or next(iter(getattr(y, "columns", [""])))
    assert est.task_names_ == [named or "task0"]
    assert est.n_tasks_ == est.n_outputs_ == 1


def test_task_names_number_the_columns_without_names():
    assert REFERENCE.task_names_ == ["task0", "task1"]
    assert REFERENCE.n_tasks_ == REFERENCE.n_outputs_ == 2


def test_integer_column_names_are_task_names():
    est = classifier(task_weight={2010: 2.0}).fit(X, pd.DataFrame(Y, columns=[2010, 5]))
    assert est.task_names_ == [2010, 5]
    assert list(est.predict_frame(X).columns) == [2010, 5]
    assert est.task_weights_[0] > est.task_weights_[1]


def test_frames_keep_the_index_of_x():
    frame = pd.DataFrame(X, index=np.arange(150) + 7, columns=list("abcd"))
    est = classifier().fit(frame, Y)
    assert_array_equal(est.predict_frame(frame).index, frame.index)


def test_labels_far_apart_in_a_small_type():
    codes = np.array([-128, 0, 127], dtype=np.int8)
    y = codes[SPECIES]
    est = classifier().fit(X, y)
    assert_array_equal(est.classes_, codes)
    assert est.predict(X).dtype == np.int8
    assert est.score(X, y) > 0.9


@pytest.mark.parametrize("codes", [[2**60, 2**60 + 1, 5], [2**63, 2**64 - 1, 0]])
def test_labels_may_be_huge_integers(codes):
    codes = np.array(codes)
    y = codes[SPECIES]
    est = classifier().fit(X, y)
    assert_array_equal(est.classes_, np.unique(codes))
    assert est.predict(X).dtype == codes.dtype
    assert est.score(X, y) > 0.9


def test_many_classes_mix_with_few():
    rng = np.random.RandomState(0)
    counts = [2, 3, 10, 300, 2, 5]
    y = np.column_stack([rng.permutation(np.arange(600) % k) for k in counts])
    features = rng.randn(600, 5)
    est = classifier(max_iter=3, early_stopping=False).fit(features, y)
    assert est.n_classes_ == counts
    proba = est.predict_proba(features)
    assert [p.shape for p in proba] == [(600, k) for k in counts]
    prediction = est.predict(features)
    for t, p in enumerate(proba):
        assert_allclose(p.sum(axis=1), 1, atol=1e-6)
        assert (p > 0).all()
        assert_array_equal(est.classes_[t][p.argmax(axis=1)], prediction[:, t])


def test_renaming_classes_changes_nothing_else():
    names = np.array([2, 0, 1])
    est = classifier().fit(X, np.column_stack([names[SPECIES], 1 - BIG]))
    P, Q = est.predict_proba(X), REFERENCE.predict_proba(X)
    assert_allclose(P[0][:, names], Q[0], atol=1e-6)
    assert_allclose(P[1][:, ::-1], Q[1], atol=1e-6)


@pytest.mark.parametrize("precision", ["float32", "float64", "bf16"])
def test_probabilities_sum_to_one_in_each_precision(precision):
    est = classifier(precision=precision).fit(X, Y)
    for p in est.predict_proba(X):
        assert p.dtype == np.float64
        assert_allclose(p.sum(axis=1), 1, atol=1e-12)
    assert est.score(X, Y) > 0.85


def test_labels_that_training_never_saw_count_as_errors():
    y = Y.copy()
    y[:75, 0] = 99
    right = (REFERENCE.predict(X) == y).mean()
    assert REFERENCE.score(X, y) == pytest.approx(right)


def test_labels_of_another_type_count_as_errors():
    est = classifier().fit(X, LETTERS[Y])
    assert est.score(X, Y) == 0
    y = LETTERS[Y].astype(object)
    y[75:, 0] = 3
    expected = (est.predict(X) == y).mean()
    assert est.score(X, y) == pytest.approx(expected)


# One observed class


def test_a_task_of_one_class_is_predicted_with_certainty_while_others_train():
    y = np.column_stack([SPECIES, np.full(150, 7), BIG])
    est = classifier().fit(X, y)
    assert est.n_classes_ == [3, 1, 2]
    proba = est.predict_proba(X)
    assert_array_equal(proba[1], np.ones((150, 1)))
    assert_array_equal(est.predict(X)[:, 1], 7)
    assert_array_equal(est.predict_log_proba(X)[1], 0)
    assert (est.predict(X)[:, [0, 2]] == Y).mean() > 0.9
    assert est.task_weights_[1] == 0


def test_a_task_of_one_class_does_not_disturb_the_others():
    y = np.column_stack([SPECIES, BIG, np.full(150, 7)])
    est = classifier(sharing="independent").fit(X, y)
    assert est.loss_curve_[-1] < est.loss_curve_[0]
    assert np.isnan(est.history_[-1]["train_losses"][2])


@pytest.mark.parametrize("sharing", ["hard", "independent", "additive"])
def test_all_tasks_of_one_class(sharing):
    y = np.array([["a", "b"]] * 150)
    est = classifier(sharing=sharing, verbose=1).fit(X, y)
    assert_array_equal(est.predict(X), y)
    assert [p.tolist() for p in est.predict_proba(X[:2])] == [[[1.0], [1.0]]] * 2
    assert est.score(X, y) == 1
    assert est.n_iter_ == 0
    one_d = classifier(sharing=sharing).fit(X, y[:, 0])
    assert_array_equal(one_d.predict_proba(X), np.ones((150, 1)))


def test_one_row_is_enough():
    est = classifier().fit(X[:1], Y[:1])
    assert_array_equal(est.predict(X[:3]), Y[[0, 0, 0]])
    est = MultiTaskRegressor(**SMALL, max_iter=3).fit(X[:1], X[:1, :2])
    assert_allclose(est.predict(X[:1]), X[:1, :2])


@pytest.mark.parametrize("early_stopping", [True, False, "auto"])
def test_two_rows_are_enough(early_stopping):
    rows = [0, 149]
    est = classifier(early_stopping=early_stopping, max_iter=3).fit(X[rows], Y[rows])
    assert [p.shape for p in est.predict_proba(X)] == [(150, 2), (150, 2)]


# Both kinds


def test_kinds_are_inferred_from_the_columns():
    y = pd.DataFrame(
        {
            "int": SPECIES,
            "float coded": SPECIES.astype(float),
            "number": X[:, 2],
            "with gaps": np.where(np.arange(150) % 3, X[:, 2], np.nan),
            "objects": pd.Series(X[:, 3], dtype=object),
            "nullable": pd.array(X[:, 3], dtype="Float64"),
            "string": LETTERS[SPECIES],
            "bool": BIG > 0,
            "category": pd.Categorical(X[:, 2].round(1)),
        }
    )
    est = MultiTaskEstimator(**SMALL, max_iter=2).fit(X, y)
    kinds = dict(zip(est.task_names_, est.task_types_, strict=True))
    assert [name for name, kind in kinds.items() if kind == "regression"] == [
        "number",
        "with gaps",
        "objects",
        "nullable",
        "category",
    ]
    assert est.classes_[2] is None
    assert est.n_classes_[:3] == [3, 3, 0]
    assert est.predict_proba(X)[2] is None
    assert est.predict_log_proba(X)[2] is None


@pytest.mark.parametrize(
    "task_types", [{"s": "regression"}, ["regression", "classification"]]
)
def test_kinds_may_be_given(task_types):
    y = pd.DataFrame({"s": SPECIES, "b": BIG})
    est = MultiTaskEstimator(**SMALL, max_iter=2, task_types=task_types).fit(X, y)
    assert est.task_types_ == ["regression", "classification"]
    assert est.predict_frame(X).dtypes.astype(str).tolist() == ["float64", "int64"]


def test_given_kinds_may_make_numbers_classes():
    y = np.column_stack([SPECIES.astype(float), X[:, 2]])
    est = MultiTaskEstimator(**SMALL, max_iter=2, task_types={"task1": "regression"})
    assert est.fit(X, y).task_types_ == ["classification", "regression"]


def test_both_kinds_are_learned_together():
    y = pd.DataFrame({"species": LETTERS[SPECIES], "petal": X[:, 3]})
    est = MultiTaskEstimator(**SMALL, max_iter=60, learning_rate_init=0.02)
    est.fit(X[:, :3], y)
    prediction = est.predict(X[:, :3])
    assert prediction.dtype == object
    accuracy = accuracy_score(y["species"], prediction[:, 0])
    r2 = r2_score(y["petal"], prediction[:, 1].astype(float))
    assert min(accuracy, r2) > 0.8
    assert est.score(X[:, :3], y) == pytest.approx((accuracy + r2) / 2)


def test_numbers_of_both_kinds_share_a_float_array():
    y = np.column_stack([SPECIES, X[:, 3]])
    est = MultiTaskEstimator(**SMALL, max_iter=2).fit(X, y)
    prediction = est.predict(X)
    assert prediction.dtype == np.float64
    assert set(prediction[:, 0]) <= {0.0, 1.0, 2.0}


def test_an_estimator_of_both_kinds_has_no_estimator_type():
    assert MultiTaskEstimator(n_estimators=1).__sklearn_tags__().estimator_type is None


# Regression in its own units


def test_targets_of_any_unit_are_learned_alike():
    y = load_linnerud().target
    features = load_linnerud().data
    features = (features - features.mean(axis=0)) / features.std(axis=0)
    settings = {**SMALL, "max_iter": 20, "precision": "float64"}
    est = MultiTaskRegressor(**settings).fit(features, y)
    units, zero = np.array([1e6, 1e-6, 1.0]), np.array([0.0, 5e-6, -1e3])
    other = MultiTaskRegressor(**settings).fit(features, y * units + zero)
    expected = est.predict(features) * units + zero
    assert_allclose(other.predict(features), expected, rtol=1e-6)
    assert other.predict(features).dtype == np.float64
    assert_allclose(other.loss_curve_, est.loss_curve_, rtol=1e-6)
    # Everything begins at the mean of each target.
    assert est.loss_curve_[0] == pytest.approx(1)


@pytest.mark.parametrize("loss", ["squared_error", "absolute_error", "huber"])
def test_regression_learns_under_each_loss(loss):
    features, y = load_diabetes(return_X_y=True)
    features = features / features.std(axis=0)
    est = MultiTaskRegressor(
        **SMALL, loss=loss, max_iter=30, learning_rate_init=0.02
    ).fit(features, np.column_stack([y, -y]))
    linear = LinearRegression().fit(features, y).score(features, y)
    assert est.score(features, np.column_stack([y, -y])) > linear - 0.05
    prediction = est.predict(features)
    assert prediction.shape == (442, 2)
    expected = np.mean([r2_score(y, prediction[:, 0]), r2_score(-y, prediction[:, 1])])
    assert est.score(features, np.column_stack([y, -y])) == pytest.approx(expected)


def test_the_losses_of_regression_differ():
    features, y = load_diabetes(return_X_y=True)
    curves = [
        MultiTaskRegressor(**SMALL, loss=loss, max_iter=3).fit(features, y).loss_curve_
        for loss in ("squared_error", "absolute_error", "huber")
    ]
    z = (y - y.mean()) / y.std()
    huber = np.where(abs(z) <= 1, z**2 / 2, abs(z) - 0.5).mean()
    starts = [curve[0] for curve in curves]
    assert_allclose(starts, [1, abs(z).mean(), huber], rtol=0.05)


@pytest.mark.parametrize("value", [0.0, 3.5, -1e9, 0.1 + 0.2])
def test_a_constant_target_is_predicted_exactly_and_others_train(value):
    y = np.column_stack([np.full(150, value), X[:, 3]])
    est = MultiTaskRegressor(**SMALL, max_iter=30, learning_rate_init=0.02)
    prediction = est.fit(X[:, :3], y).predict(X[:, :3])
    assert_allclose(prediction[:, 0], value, atol=0.2 + 1e-9 * abs(value))
    assert r2_score(y[:, 1], prediction[:, 1]) > 0.8


@pytest.mark.parametrize("unit", [2.0**-980, 2.0**-40, 2.0**980])
@pytest.mark.parametrize("weight", [None, 1e-300, 1e300])
def test_any_unit_of_a_number_gives_the_same_model(unit, weight):
    y = X[:, 3]
    plain = MultiTaskRegressor(**SMALL, max_iter=3).fit(X[:, :3], y)
    weights = None if weight is None else np.full(150, weight)
    est = MultiTaskRegressor(**SMALL, max_iter=3).fit(X[:, :3], unit * y, weights)
    predicted = est.predict(X[:, :3])
    assert_allclose(predicted / unit, plain.predict(X[:, :3]), rtol=1e-6, atol=1e-9)
    expected = plain.score(X[:, :3], y)
    assert est.score(X[:, :3], unit * y, weights) == pytest.approx(expected)


def test_a_score_far_below_zero_is_a_number():
    est = MultiTaskRegressor(**SMALL, max_iter=1).fit(X[:, :3], 1e300 * X[:, 3])
    assert -np.inf < est.score(X[:, :3], X[:, 3]) < -1e100


@pytest.mark.parametrize(
    "y",
    [
        load_wine().data[:, 0],
        load_wine().data[:, 0].astype(np.float32),
        load_wine().target,
        load_wine().data[:, :1],
        pd.Series(load_wine().data[:, 0], name="alcohol"),
        pd.Series(load_wine().data[:, 0], dtype="Float64"),
        load_wine().target > 0,
    ],
    ids=["float", "float32", "int", "(n, 1)", "Series", "Float64", "bool"],
)
def test_one_numeric_column_behaves_as_in_any_regressor(y):
    features = load_wine().data[:, 1:] / load_wine().data[:, 1:].std(axis=0)
    est = MultiTaskRegressor(**SMALL, max_iter=2).fit(features, y)
    prediction = est.predict(features)
    assert prediction.shape == (178,)
    assert prediction.dtype == np.float64
    truth = np.asarray(y, dtype=float).ravel()
    assert est.score(features, y) == pytest.approx(r2_score(truth, prediction))


# The layout of outputs


def test_blocks_hold_tasks_whose_class_counts_differ_by_less_than_a_factor_of_two():
    kinds = ["classification"] * 7 + ["regression"] * 2
    counts = [2, 3, 10, 300, 1, 16, 2, 0, 0]
    blocks = group_tasks(kinds, counts)
    assert [(b.kind, b.tasks, b.sizes) for b in blocks] == [
        ("binary", (0, 6), (1, 1)),
        ("multiclass", (1,), (3,)),
        ("multiclass", (2, 5), (10, 16)),
        ("multiclass", (3,), (300,)),
        ("regression", (7, 8), (1, 1)),
    ]
    starts = [b.start for b in blocks]
    assert starts == [0, 2, 5, 31, 331]
    assert [b.stop for b in blocks] == [*starts[1:], 333]
    assert [b.ragged for b in blocks] == [False, False, True, False, False]
    assert_array_equal(blocks[2].padded_columns, [*range(10), *range(16, 32)])


def test_codes_and_values_go_there_and_back():
    y = pd.DataFrame({"a": ["x", None, "z", "y"], "b": [1.0, 2.0, np.nan, 6.0]})
    columns = read_labels(y)
    targets = Targets(columns, ["classification", "regression"])
    codes, values = targets.encode(columns)
    assert codes.tolist() == [0, -1, 2, 1]
    assert_allclose(values * targets.scale[1] + targets.mean[1], y["b"])
    assert np.nanmean(values) == pytest.approx(0)
    assert np.nanstd(values) == pytest.approx(1)


def test_predictions_are_finite_however_far_outputs_are():
    est = MultiTaskRegressor(**SMALL, max_iter=1).fit(X[:, :3], 1e300 * X[:, 3])
    outputs = torch.tensor([[-1e20], [1e20]], dtype=torch.float64)
    largest = np.finfo(np.float64).max
    assert_array_equal(est._targets.predict_values(outputs), [[-largest], [largest]])
