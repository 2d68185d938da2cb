"""Bad input gets one sentence before training starts, and changes nothing."""

import copy

import numpy as np
import pandas as pd
import pytest
import torch
from numpy.testing import assert_array_equal
from scipy import sparse
from sklearn.datasets import load_iris
from sklearn.exceptions import NotFittedError
from torch import nn

import skmtl._estimators.fitting.settings
from skmtl import MultiTaskClassifier, MultiTaskEstimator, MultiTaskRegressor
from skmtl.encoder import ENCODER, MLP
from skmtl.metrics import task_scores
from skmtl.sharing import SHARING, Additive, Hard
from skmtl.training import MultiTaskNet
from skmtl.weighting import WEIGHTING, Equal

SETTINGS = {"encoder": MLP((8,)), "max_iter": 2, "random_state": 0, "n_estimators": 1}
X, SPECIES = load_iris(return_X_y=True)
Y = np.column_stack([SPECIES, X[:, 0] > 5.8])
NUMBERS = X[:, 2:]
NAMED = pd.DataFrame(Y, columns=["species", "long"])
DATA = {
    MultiTaskClassifier: Y,
    MultiTaskRegressor: NUMBERS,
    MultiTaskEstimator: pd.DataFrame({"species": SPECIES, "petal": X[:, 2]}),
}
STRICT = SETTINGS | {"encoder": MLP((8,), missing_inputs=None)}
FITTED_STRICT = {cls: cls(**STRICT).fit(X, y) for cls, y in DATA.items()}
FITTED = {cls: cls(**SETTINGS).fit(X, y) for cls, y in DATA.items()}
NAMED_CLASSIFIER = MultiTaskClassifier(**SETTINGS).fit(X, NAMED)


@pytest.fixture(autouse=True)
def no_training(monkeypatch):
    def train(*args, **options):
        raise AssertionError("training started")

    monkeypatch.setattr(MultiTaskNet, "train", train)


def fitted_attributes(est):
    return {k for k in vars(est) if k.endswith("_") and not k.startswith("_")}


def refuses(message, X=X, y=None, cls=MultiTaskClassifier, fit=(), **params):
    """Hold the message of fit, for a new and for a fitted estimator."""
    y = DATA[cls] if y is None else y
    fit = dict(fit)
    est = cls(**SETTINGS | params)
    with pytest.raises(ValueError, match=message) as caught:
        est.fit(X, y, **fit)
    assert fitted_attributes(est) == set()
    with pytest.raises(NotFittedError):
        est.predict(X)
    est = copy.deepcopy(FITTED[cls]).set_params(**params)
    before = fitted_attributes(est)
    with pytest.raises(ValueError, match=message):
        est.fit(X, y, **fit)
    assert fitted_attributes(est) == before
    est.set_params(**cls(**SETTINGS).get_params(deep=False))
    good = load_iris().data
    assert_array_equal(est.predict(good), FITTED[cls].predict(good))
    assert est.n_features_in_ == 4
    return str(caught.value)


def is_one_sentence(message):
    return "\n" not in message and len(message) < 400


# Strategies


@pytest.mark.parametrize("cls", DATA)
@pytest.mark.parametrize(
    ("name", "registry"),
    [("sharing", SHARING), ("encoder", ENCODER), ("weighting", WEIGHTING)],
)
def test_an_unknown_strategy_lists_the_registry(cls, name, registry):
    message = refuses(
        f"The '{name}' parameter of {cls.__name__} must be a str among .* "
        "Got 'nonsense' instead",
        cls=cls,
        **{name: "nonsense"},
    )
    assert all(repr(strategy) in message for strategy in registry)


@pytest.mark.parametrize(
    ("name", "family", "spec"),
    [
        ("sharing", "Sharing", MLP()),
        ("sharing", "Sharing", Equal()),
        ("sharing", "Sharing", Hard),
        ("sharing", "Sharing", None),
        ("encoder", "Encoder", Hard()),
        ("encoder", "Encoder", 3),
        ("weighting", "Weighting", Additive()),
        ("weighting", "Weighting", Equal),
        ("relation", "Relation", Equal()),
        ("relation", "Relation", "nonsense"),
    ],
)
def test_a_spec_of_the_wrong_family_names_the_right_one(name, family, spec):
    message = refuses(
        f"The '{name}' parameter of MultiTaskClassifier must be .*{family}",
        **{name: spec},
    )
    assert repr(spec) in message


@pytest.mark.parametrize("encoder", [MLP, Hard, Equal])
def test_a_spec_class_as_encoder_is_refused(encoder):
    message = refuses("The 'encoder' parameter must be", encoder=encoder)
    assert encoder.__name__ in message


def test_a_live_module_as_encoder_is_refused():
    refuses("not a module: clone would copy its weights", encoder=nn.Linear(4, 8))


def test_an_encoder_that_cannot_take_the_features_is_refused():
    refuses(
        r"encoder.*cannot take a batch of shape \(2, 4\)",
        encoder=lambda: nn.Linear(5, 8),
    )


def test_an_encoder_that_returns_no_table_of_features_is_refused():
    refuses(
        r"shape \(n, width\). For 2 samples it returned \(2, 2, 2\)",
        encoder=lambda: nn.Unflatten(1, (2, 2)),
    )


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"encoder": MLP((0,))}, "must hold positive integers. Got"),
        ({"encoder": MLP(activation="no")}, "'activation' parameter of MLP must be"),
        ({"encoder": MLP(dropout=1)}, "'dropout' parameter of MLP must be"),
        ({"sharing": Additive(strength=-1)}, "'strength' parameter of Additive must"),
    ],
)
def test_settings_of_specs_are_checked(params, message):
    refuses(message, **params)


# Parameters


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("batch_size", 0),
        ("batch_size", -1),
        ("batch_size", 2.5),
        ("batch_size", "all"),
        ("max_iter", 0),
        ("learning_rate_init", 0),
        ("learning_rate_init", -1.0),
        ("alpha", -1),
        ("tol", -1),
        ("validation_fraction", 0),
        ("validation_fraction", 1),
        ("n_iter_no_change", 0),
        ("early_stopping", "always"),
        ("precision", "float16"),
        ("n_threads", 0),
        ("n_threads", 1025),
        ("n_threads", 100_000),
        ("optimizer", "lion"),
        ("callbacks", "EarlyStopping"),
        ("class_weight", "equal"),
        ("random_state", "zero"),
    ],
)
def test_parameters_out_of_range_name_what_is_allowed(name, value):
    message = refuses(
        f"The '{name}' parameter of MultiTaskClassifier must be .* Got .* instead",
        **{name: value},
    )
    assert repr(value) in message


def test_batch_size_zero_names_the_range():
    message = refuses("Got 0 instead", batch_size=0)
    assert "[1, inf)" in message


@pytest.mark.parametrize("optimizer", [nn.Linear, lambda parameters: None])
def test_an_optimizer_that_is_none_is_refused(optimizer):
    refuses("The 'optimizer' parameter must be one of .*adamw", optimizer=optimizer)


@pytest.mark.parametrize("device", ["nonsense", "cuda:99", "mps", "meta", "xpu"])
def test_a_device_that_is_not_there_is_refused(device):
    message = refuses(
        "The 'device' parameter must be 'auto' or a torch device that this machine "
        "has, such as 'cpu'",
        device=device,
    )
    assert repr(device) in message
    assert is_one_sentence(message)


@pytest.mark.parametrize("precision", ["float64"])
def test_a_precision_that_the_device_lacks_is_refused(precision, monkeypatch):
    monkeypatch.setattr(
        skmtl._estimators.fitting.settings,
        "check_device",
        lambda device: torch.device("mps"),
    )
    refuses(
        f"'precision' parameter '{precision}' is not available on the device 'mps': "
        "use 'float32'",
        precision=precision,
    )


def test_bf16_where_the_device_cannot_is_refused(monkeypatch):
    monkeypatch.setattr(torch.amp, "is_autocast_available", lambda device: False)
    refuses(
        "'precision' parameter 'bf16' is not available on the device 'cpu': "
        "use 'float32'",
        precision="bf16",
        device="cpu",
    )


# Targets


@pytest.mark.parametrize(
    "y",
    [
        NUMBERS,
        NUMBERS[:, 0],
        SPECIES * 1j,
        np.column_stack([SPECIES, X[:, 2]]),
        np.array([True, 2.5] * 75, dtype=object),
    ],
)
def test_continuous_targets_for_a_classifier_name_the_task_and_the_cure(y):
    name = "task1" if y.ndim == 2 and y[0, 0] == SPECIES[0] else "task0"
    refuses(
        f"Unknown label type: continuous. Task '{name}' holds numbers that are not "
        "integers.*use MultiTaskRegressor, or MultiTaskEstimator",
        y=y,
    )


@pytest.mark.parametrize("cls", DATA)
@pytest.mark.parametrize("how", ["missing", "weight zero"])
def test_a_task_without_labels_is_named(cls, how):
    y = pd.DataFrame({"here": SPECIES, "gone": SPECIES}).astype(float)
    fit = {}
    if how == "missing":
        y["gone"] = np.nan
    else:
        fit = {"sample_weight": np.column_stack([np.ones(150), np.zeros(150)])}
    refuses("Task 'gone' has no labelled row: give it at least", y=y, cls=cls, fit=fit)


@pytest.mark.parametrize("cls", DATA)
def test_all_labels_missing(cls):
    refuses("Task 'task0' has no labelled row", y=np.full((150, 2), np.nan), cls=cls)


@pytest.mark.parametrize("cls", DATA)
@pytest.mark.parametrize("n", [149, 151, 1])
def test_y_with_other_rows_than_x(cls, n):
    y = np.resize(np.asarray(DATA[cls], dtype=float), (n, 2))
    refuses(
        rf"inconsistent numbers of samples: \[(np.int64\()?150\)?, (np.int64\()?{n}",
        y=y,
        cls=cls,
    )


@pytest.mark.parametrize("cls", DATA)
@pytest.mark.parametrize("value", [np.inf, -np.inf])
def test_infinite_targets_name_the_task(cls, value):
    y = Y.astype(float)
    y[3, 1] = value
    refuses(
        "Input y contains infinity in task 'task1': remove it, or mark", y=y, cls=cls
    )


def test_infinity_among_words_or_truth_values():
    for other, message in [(True, "contains infinity"), ("a", "cannot be ordered")]:
        refuses(message, y=np.array([other, np.inf] * 75, dtype=object))


@pytest.mark.parametrize("cls", DATA)
def test_duplicate_task_names(cls):
    y = pd.DataFrame(Y.astype(float), columns=["a", "a"])
    refuses(
        r"Task names must be unique. Got \['a'\] more than once.*rename", y=y, cls=cls
    )


@pytest.mark.parametrize("cls", DATA)
def test_y_of_none(cls):
    est = cls(**SETTINGS)
    with pytest.raises(ValueError, match="requires y to be passed, but the target y"):
        est.fit(X, None)


@pytest.mark.parametrize(
    ("y", "message"),
    [
        (np.zeros((150, 2, 2)), r"y must have shape .* Got an array of shape"),
        (np.zeros((150, 0)), "y has no column"),
        ("setosa", "one label per row"),
        ([[0, 1]] * 149 + [[0]], "same number of labels in every row"),
        ([0, "a"] * 75, r"task 'task0' cannot be ordered.*\['int', 'str'\].*make them"),
        ([1j, "a"] * 75, r"cannot be ordered.*\['complex', 'str'\]: make"),
    ],
)
def test_y_of_the_wrong_form(y, message):
    refuses(message, y=y)


@pytest.mark.parametrize(
    "column",
    [
        ["a", "b"] * 75,
        np.array(["2026-01-01", "2026-01-02"] * 75, dtype="M8[D]"),
        np.array([1j, 2] * 75),
    ],
    ids=["str", "dates", "complex"],
)
def test_targets_of_regression_must_be_numbers(column):
    y = pd.DataFrame({"ok": SPECIES, "bad": column})
    refuses(
        "Task 'bad' is a regression task, and its labels must be numbers. Got",
        y=y,
        cls=MultiTaskRegressor,
    )


# X


@pytest.mark.parametrize("cls", DATA)
@pytest.mark.parametrize(
    ("value", "message"),
    [
        (np.nan, "Input X contains NaN"),
        (np.inf, "Input X contains infinity or a value too large"),
    ],
)
@pytest.mark.parametrize("as_type", [np.asarray, sparse.csr_matrix, pd.DataFrame])
def test_x_that_is_not_finite_gets_the_message_of_scikit_learn(
    cls, value, message, as_type
):
    bad = X.copy()
    bad[7, 2] = value
    est = cls(**STRICT)
    with pytest.raises(ValueError, match=message):
        est.fit(as_type(bad), DATA[cls])
    assert fitted_attributes(est) == set()
    with pytest.raises(ValueError, match=message):
        FITTED_STRICT[cls].predict(as_type(bad))


@pytest.mark.parametrize("cls", DATA)
@pytest.mark.parametrize(
    ("bad", "message"),
    [
        (X[:, 0], "Expected 2D array, got 1D array"),
        (X[:0], r"Found array with 0 sample\(s\)"),
        (X[:, :0], r"Found array with 0 feature\(s\)"),
        (X[:, :, None], "Found array with dim 3|has samples of shape"),
        (np.full(X.shape, "a"), "could not convert string to float"),
    ],
)
def test_x_of_the_wrong_form(cls, bad, message):
    with pytest.raises(ValueError, match=message):
        cls(**SETTINGS).fit(bad, DATA[cls])
    with pytest.raises(ValueError, match=message):
        FITTED[cls].predict(bad)


@pytest.mark.parametrize("cls", DATA)
@pytest.mark.parametrize("method", ["predict", "predict_frame", "score", "partial_fit"])
@pytest.mark.parametrize("n_features", [3, 5])
@pytest.mark.sampled(5)
def test_another_number_of_features(cls, method, n_features):
    est = copy.deepcopy(FITTED[cls])
    args = (DATA[cls],) if method in ("score", "partial_fit") else ()
    with pytest.raises(
        ValueError,
        match=f"X has {n_features} features, but {cls.__name__} is expecting 4 feat",
    ):
        getattr(est, method)(np.zeros((150, n_features)), *args)
    assert_array_equal(est.predict(X), FITTED[cls].predict(X))


@pytest.mark.parametrize("method", ["predict", "score", "partial_fit"])
def test_other_feature_names(method):
    names = list("abcd")
    est = copy.deepcopy(NAMED_CLASSIFIER)
    est.feature_names_in_ = np.array(names, dtype=object)
    args = (NAMED,) if method in ("score", "partial_fit") else ()
    with pytest.raises(ValueError, match="feature names should match"):
        getattr(est, method)(pd.DataFrame(X, columns=list("abdc")), *args)


# Changed tasks


@pytest.mark.parametrize("cls", DATA)
@pytest.mark.parametrize("method", ["score", "partial_fit"])
@pytest.mark.parametrize("n_tasks", [1, 3])
def test_another_number_of_tasks(cls, method, n_tasks):
    est = copy.deepcopy(FITTED[cls])
    y = np.repeat(SPECIES[:, None], n_tasks, axis=1)
    with pytest.raises(
        ValueError,
        match=rf"y has {n_tasks} tasks, but {cls.__name__} was fitted on 2: \[",
    ):
        getattr(est, method)(X, y)
    assert_array_equal(est.predict(X), FITTED[cls].predict(X))


@pytest.mark.parametrize("method", ["score", "partial_fit"])
def test_other_task_names(method):
    y = pd.DataFrame(Y, columns=["species", "longer"])
    est = copy.deepcopy(NAMED_CLASSIFIER)
    with pytest.raises(ValueError, match="Did you mean 'long'") as error:
        getattr(est, method)(X, y)
    assert str(error.value) == (
        "y must have one column for each task, named as the tasks are, in any order, "
        "but has no task ['long'] and has ['longer']. Did you mean 'long'? The tasks "
        "are ['species', 'long']: rename the columns, or give an array in this order."
    )


def test_names_are_compared_only_where_both_have_them():
    expected = NAMED_CLASSIFIER.score(X, Y)
    assert NAMED_CLASSIFIER.score(X, NAMED) == expected
    assert FITTED[MultiTaskClassifier].score(X, NAMED) == expected


@pytest.mark.parametrize("method", ["score", "partial_fit"])
def test_y_with_other_rows_than_x_in_other_methods(method):
    with pytest.raises(ValueError, match="inconsistent numbers of samples"):
        getattr(copy.deepcopy(NAMED_CLASSIFIER), method)(X, Y[:-1])


def test_a_label_that_is_no_class_in_partial_fit():
    y = Y.copy()
    y[0, 1] = 5
    est = copy.deepcopy(FITTED[MultiTaskClassifier])
    with pytest.raises(
        ValueError,
        match=r"Task 'task1' has the label 5, which is none of its classes \[0",
    ):
        est.partial_fit(X, y)


def test_partial_fit_without_classes():
    with pytest.raises(ValueError, match="classes must be passed on the first call"):
        MultiTaskClassifier(**SETTINGS).partial_fit(X, Y)


@pytest.mark.parametrize("classes", [[[0, 1, 2]], [[0, 1, 2], [0, 1], [0]], [0, 1, 2]])
def test_partial_fit_with_classes_of_another_number_of_tasks(classes):
    with pytest.raises(ValueError, match="classes must be a list with the labels of"):
        MultiTaskClassifier(**SETTINGS).partial_fit(X, Y, classes=classes)


def test_partial_fit_with_other_classes_than_before():
    est = copy.deepcopy(FITTED[MultiTaskClassifier])
    with pytest.raises(ValueError, match="is not what the first call to partial_fit"):
        est.partial_fit(X, Y, classes=[[0, 1, 2, 3], [0, 1]])


def test_partial_fit_with_balanced_classes():
    with pytest.raises(ValueError, match="'balanced' needs all rows at once"):
        MultiTaskClassifier(class_weight="balanced", n_estimators=1).partial_fit(
            X, Y, [[0, 1], [0, 1]]
        )


# Weights


@pytest.mark.parametrize("cls", DATA)
@pytest.mark.parametrize(
    "shape", [(149,), (151,), (150, 3), (150, 1), (2, 150), (150, 2, 1), ()]
)
def test_sample_weight_of_the_wrong_shape(cls, shape):
    message = refuses(
        r"sample_weight must have shape \(150,\) or \(150, 2\)",
        cls=cls,
        fit={"sample_weight": np.ones(shape)},
    )
    assert str(shape) in message
    with pytest.raises(ValueError, match="sample_weight must have shape"):
        FITTED[cls].score(X, DATA[cls], np.ones(shape))


@pytest.mark.parametrize("cls", DATA)
@pytest.mark.parametrize("shape", [(150,), (150, 2)])
def test_weights_all_zero(cls, shape):
    refuses(
        "sample_weight is zero for every row: give at least one row a positive",
        cls=cls,
        fit={"sample_weight": np.zeros(shape)},
    )


@pytest.mark.parametrize("value", [-1.0, np.nan, np.inf])
def test_sample_weight_out_of_range(value):
    weight = np.ones(150)
    weight[3] = value
    refuses(
        "sample_weight must be finite and not negative. Got values from",
        fit={"sample_weight": weight},
    )


def test_weights_that_meet_no_label():
    y = Y.astype(float)
    y[:75] = np.nan
    weight = np.ones(150)
    weight[75:] = 0
    refuses("has no labelled row", y=y, fit={"sample_weight": weight})


@pytest.mark.parametrize("weight", [["heavy"] * 150, [[1.0]] * 149 + [[1.0, 2.0]]])
def test_sample_weight_that_is_no_numbers(weight):
    message = refuses("sample_weight must hold numbers", fit={"sample_weight": weight})
    assert is_one_sentence(message)


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"task_weight": ["heavy", "light"]}, "'task_weight' .* must hold numbers"),
        ({"task_weight": {"nose": 2}}, "unknown task 'nose'. The tasks are .*'task0'"),
        ({"task_weight": [1]}, r"one weight per task, shape \(2,\). Got shape \(1,\)"),
        ({"task_weight": [1, 1, 1]}, r"one weight per task, shape \(2,\)"),
        ({"task_weight": [0, 0]}, "positive for at least one task"),
        ({"task_weight": [1, -1]}, "not negative"),
        ({"task_weight": [1, np.nan]}, "must be finite"),
        ({"task_weight": {"task0": 0, "task1": 0}}, "positive for at least one task"),
    ],
)
@pytest.mark.parametrize("cls", DATA)
def test_task_weights_that_cannot_be(cls, params, message):
    y = np.asarray(DATA[cls], dtype=float)
    refuses(message, cls=cls, y=y, **params)


def test_task_weight_zero_for_all_that_can_learn():
    y = np.column_stack([SPECIES, np.zeros(150)])
    refuses("leaves no task to train: give a positive", y=y, task_weight=[0, 1])


@pytest.mark.parametrize(
    ("class_weight", "message"),
    [
        (["balanced"], "one entry per task, 2. Got 1"),
        (
            ["balanced", "equal"],
            "must be None, 'balanced' or a dict .* Got 'equal' for",
        ),
        ({0: -1}, "finite weights that are not negative"),
        ([None, {1: np.nan}], "finite weights .*'task1'"),
        ({0: "heavy"}, "finite weights .*'heavy'"),
        ([None, {0: 0, 1: 0}], "no label of task 'task1' a positive weight"),
    ],
)
def test_class_weights_that_cannot_be(class_weight, message):
    refuses(message, class_weight=class_weight)


def test_weights_of_classes_and_rows_that_are_infinite_together():
    refuses(
        r"'class_weight' parameter times sample_weight must be finite.*'task0'",
        class_weight={0: 1e308},
        fit={"sample_weight": np.where(SPECIES == 0, 1000, 1)},
    )


# Validation sets


@pytest.mark.parametrize("cls", DATA)
@pytest.mark.parametrize(
    ("fit", "message"),
    [
        ({"X_val": X}, "X_val and y_val must be given together"),
        ({"y_val": NUMBERS}, "X_val and y_val must be given together"),
        ({"sample_weight_val": np.ones(3)}, "sample_weight_val was given without"),
        ({"X_val": X[:, :3], "y_val": "same"}, "X has 3 features, but"),
        ({"X_val": X[:-1], "y_val": "same"}, "inconsistent numbers of samples"),
        ({"X_val": X, "y_val": SPECIES}, "y_val has 1 tasks, but"),
        (
            {"X_val": X, "y_val": np.full((150, 2), np.nan)},
            "y_val has no label that counts",
        ),
        (
            {"X_val": X, "y_val": "same", "sample_weight_val": np.ones((150, 3))},
            "sample_weight_val must have shape",
        ),
        (
            {"X_val": X, "y_val": "same", "sample_weight_val": np.zeros(150)},
            "sample_weight_val is zero for every row",
        ),
    ],
)
@pytest.mark.sampled(2)
def test_validation_sets_that_cannot_be(cls, fit, message):
    if isinstance(fit.get("y_val"), str):
        fit = {**fit, "y_val": DATA[cls]}
    refuses(message, cls=cls, fit=fit)


def test_a_validation_set_without_early_stopping():
    refuses(
        "early_stopping=False: set it to 'auto' or True",
        fit={"X_val": X, "y_val": Y},
        early_stopping=False,
    )


def test_a_validation_label_that_training_lacks():
    y = Y.copy()
    y[0, 0] = 7
    refuses(
        r"Task 'task0' has the label 7, which is none of its classes \[0, 1, 2\]",
        fit={"X_val": X, "y_val": y},
    )


def test_a_validation_set_with_labels_only_of_what_does_not_train():
    y = Y.astype(float)
    y[:, 0] = np.nan
    refuses(
        "y_val has no label that counts",
        fit={"X_val": X, "y_val": y},
        task_weight=[1, 0],
    )


def test_validation_images_of_another_size():
    images = np.random.RandomState(0).randn(150, 1, 4, 4)
    est = MultiTaskClassifier(encoder=nn.Flatten, max_iter=2, n_estimators=1)
    with pytest.raises(ValueError, match=r"X has samples of shape \(1, 4, 3\), but"):
        est.fit(images, Y, X_val=images[..., :3], y_val=Y)
    assert fitted_attributes(est) == set()


def test_infinite_validation_targets():
    y = NUMBERS.copy()
    y[0, 1] = np.inf
    refuses(
        "contains infinity in task 'task1'",
        cls=MultiTaskRegressor,
        fit={"X_val": X, "y_val": y},
    )


def test_a_validation_target_too_far_from_those_of_training():
    y = np.repeat(SPECIES[:, None] * 1e-10, 2, axis=1)
    y_val = y.copy()
    y_val[0, 1] = 1e300
    refuses(
        r"Task 'task1' has the label 1e\+300, too far from those of training with mean",
        y=y,
        cls=MultiTaskRegressor,
        fit={"X_val": X, "y_val": y_val},
    )


@pytest.mark.parametrize("resampling", ["crossfit", "bootstrap", None])
@pytest.mark.parametrize("n_estimators", [1, 2])
def test_nothing_to_hold_out(n_estimators, resampling):
    refuses(
        "early_stopping=True needs at least 2 labelled rows to hold one out",
        X=X[:1],
        y=Y[:1],
        early_stopping=True,
        n_estimators=n_estimators,
        resampling=resampling,
    )


# Kinds


@pytest.mark.parametrize(
    ("task_types", "message"),
    [
        ({"nose": "regression"}, "names among .*'task0', 'task1'.* Got 'nose'"),
        ({"task0": "ranking"}, r"one of \('classification', 'regression'\).*'ranking'"),
        (["regression"], "one entry per task, 2. Got 1"),
        ({"task1": "classification"}, "Unknown label type: continuous. Task 'task1'"),
    ],
)
def test_task_types_that_cannot_be(task_types, message):
    y = np.column_stack([SPECIES, X[:, 2]])
    refuses(message, cls=MultiTaskEstimator, y=y, task_types=task_types)


def test_a_loss_that_is_none():
    refuses(
        "The 'loss' parameter of MultiTaskRegressor must be a str among .*'huber'",
        cls=MultiTaskRegressor,
        loss="hinge",
    )


# Unfitted


@pytest.mark.parametrize("cls", DATA)
@pytest.mark.parametrize("method", ["predict", "predict_frame", "score"])
def test_an_unfitted_estimator_says_so(cls, method):
    args = (DATA[cls],) if method == "score" else ()
    with pytest.raises(NotFittedError, match=f"This {cls.__name__} instance is not"):
        getattr(cls(), method)(X, *args)


# Settings that name what the data lack


@pytest.mark.parametrize(
    ("class_weight", "message"),
    [
        (
            [{"0": 1, "1": 8}, None],
            r"unknown class '0' for task 'task0', whose classes .*Did you mean 0\?",
        ),
        ({7: 3.0}, r"names the unknown class 7 for all tasks, whose classes are"),
        ([{0: 1, 9: 2}, None], r"names the unknown class 9 for task 'task0'"),
        ({"task0": {9: 2}}, r"names the unknown class 9 for task 'task0'"),
        (
            {"tsk0": {0: 2}},
            r"names the unknown task 'tsk0'\. Did you mean 'task0'\? The tasks are",
        ),
        ({"task0": {0: 2}, 1: 3.0}, r"names the unknown task 1"),
        ({"task0": {0: 2}, "task1": 3.0}, "must be None, 'balanced' or a dict"),
    ],
)
def test_class_weights_of_unknown_classes(class_weight, message):
    refuses(message, class_weight=class_weight)


@pytest.mark.parametrize(
    "class_weight", [[None, {0: 2}], [None, "balanced"], {"petal": {0: 2}}]
)
def test_class_weights_of_a_regression_task(class_weight):
    message = "for task 'petal', a regression task, which has no classes: give None"
    refuses(message, cls=MultiTaskEstimator, class_weight=class_weight)


@pytest.mark.parametrize("name", ["task_weight", "task_types"])
def test_settings_of_an_unknown_task(name):
    value = {"task_weight": {"speces": 2}, "task_types": {"speces": "regression"}}
    message = "Got 'speces'|unknown task 'speces'. Did you mean 'species'"
    refuses(message, cls=MultiTaskEstimator, **{name: value[name]})


def test_two_metrics_of_one_task():
    metric = {0: "accuracy", "task0": "f1_macro", "task1": "accuracy"}
    with pytest.raises(ValueError, match="two metrics for task 'task0', one by its n"):
        task_scores(Y, Y, metric)
