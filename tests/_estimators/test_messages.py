"""Errors and warnings say what was passed, what is allowed and how to mend it."""

import numpy as np
import pandas as pd
import pytest
import torch
from scipy import sparse
from sklearn.datasets import load_iris
from sklearn.exceptions import NotFittedError
from skorch.callbacks import EpochScoring
from torch.utils.data import DataLoader, TensorDataset

import skmtl
from skmtl import MultiTaskClassifier, MultiTaskEstimator, MultiTaskRegressor
from skmtl.encoder import CNN, MLP
from skmtl.inspection import TrainingCurveDisplay
from skmtl.metrics import delta_m, task_scores
from skmtl.model_selection import (
    MultiTaskStratifiedShuffleSplit,
    compare_sharing,
    cross_val_predict,
    multitask_train_test_split,
)
from skmtl.relation import GraphLaplacian, LabelGraph, TaskGraph
from skmtl.sharing import AutoGrouped

X, SPECIES = load_iris(return_X_y=True)
X, SPECIES = X[::5], SPECIES[::5]
Y = np.column_stack([SPECIES, X[:, 0] > 5.8])
N = len(X)
SETTINGS = {"encoder": MLP((4,)), "max_iter": 2, "random_state": 0, "n_estimators": 1}
IMAGES = np.random.default_rng(0).normal(size=(12, 8, 8, 3))
FITTED = MultiTaskClassifier(**SETTINGS).fit(X, Y)
DATASET = TensorDataset(torch.tensor(X), torch.tensor(Y))


def classifier(**kwargs):
    return MultiTaskClassifier(**SETTINGS | kwargs)


# Classes of partial_fit


@pytest.mark.parametrize(
    ("classes", "message"),
    [
        ([0, 1], r"1-D array of labels for task 'task0'\. Got 0: give one array per"),
        (["ab", "cd"], r"1-D array of labels for task 'task0'\. Got 'ab'"),
        (
            [[[0, 1]], [0, 1]],
            r"1-D array of labels for task 'task0'\. Got \[\[0, 1\]\]",
        ),
        ([[], [0, 1]], r"1-D array of labels for task 'task0'\. Got \[\]"),
        ([[0, 1, 2, np.nan], [0, 1]], "no missing labels.*'task0': leave NaN and None"),
        ([[0, 1, None], [0, 1]], "no missing labels"),
        ([[0, 1, 1, 2], [0, 1]], "classes must be unique.*for task 'task0': give each"),
        ([None, [0, 1]], "an array of labels for task 'task0', one of classification"),
        ([[0, 1, 2]], "the labels of each of the 2 tasks.* Got 1 entries"),
        ({"tsk0": [0]}, r"unknown task 'tsk0'\. Did you mean 'task0'\?"),
        ({"task0": [0, 1, 2]}, "an array of labels for task 'task1'"),
        (5, "a list of one array of labels per task, or a dict.* Got 5"),
        ("ab", "a list of one array of labels per task, or a dict.* Got 'ab'"),
    ],
)
def test_classes_that_partial_fit_cannot_take(classes, message):
    with pytest.raises(ValueError, match=message):
        classifier().partial_fit(X, Y, classes=classes)


def test_classes_of_partial_fit_by_task_name():
    classes = {"task1": [0, 1], "task0": (0, 1, 2)}
    est = classifier().partial_fit(X, Y, classes=classes)
    assert [c.tolist() for c in est.classes_] == [[0, 1, 2], [0, 1]]
    est.partial_fit(X, Y, classes=classes)
    with pytest.raises(ValueError, match="is not what the first call"):
        est.partial_fit(X, Y, classes={"task0": [0, 1], "task1": [0, 1]})


def test_classes_of_regression_tasks_are_none():
    y = np.column_stack([SPECIES, X[:, 0]])
    est = MultiTaskEstimator(**SETTINGS, task_types=["classification", "regression"])
    with pytest.raises(ValueError, match="None for task 'task1', one of regression"):
        est.partial_fit(X, y, classes=[[0, 1, 2], [0, 1]])
    est.partial_fit(X, y, classes={"task0": [0, 1, 2]})


# Inputs


def test_images_whose_channels_come_last():
    last = "channels last\\? Use X.transpose\\(0, 3, 1, 2\\)"
    with (
        pytest.warns(UserWarning, match=f"shape \\(8, 8, 3\\), which are .*{last}"),
        pytest.raises(ValueError, match=f"images of 8 x 3 \\({last}\\), are too small"),
    ):
        classifier(encoder="cnn").fit(IMAGES, Y[:12])
    est = classifier(encoder=CNN((2,)), n_estimators=1)
    est.fit(IMAGES.transpose(0, 3, 1, 2), Y[:12])
    message = f"shape \\(8, 8, 3\\), but training had \\(3, 8, 8\\): {last}"
    with pytest.raises(ValueError, match=message):
        est.predict(IMAGES)


@pytest.mark.parametrize("y", [[Y[:, 0], Y[:, 1]], Y.T, [SPECIES.tolist()] * 2])
def test_labels_with_a_row_per_task(y):
    message = (
        f"one row per sample and one column per task. Got 2 rows and {N} columns for "
        rf"{N} samples: give np.column_stack\(y\) for a list of arrays, one per task"
    )
    with pytest.raises(ValueError, match=message):
        classifier().fit(X, y)
    with pytest.raises(ValueError, match=message):
        FITTED.score(X, y)


@pytest.mark.parametrize("data", [DATASET, DataLoader(DATASET)])
def test_data_sets_of_torch(data):
    message = f"Got torch's {type(data).__name__}: give the tensors of all samples"
    for y in (None, Y):
        with pytest.raises(TypeError, match=message):
            classifier().fit(data, y)
    with pytest.raises(TypeError, match=message):
        FITTED.predict(data)


def test_rows_of_different_lengths():
    message = "X must have the same number of features in every row"
    with pytest.raises(ValueError, match=message):
        classifier().fit([[1, 2], [3]] * (N // 2), Y)
    with pytest.raises(ValueError, match=message):
        FITTED.predict([[1, 2, 3, 4], [3]])


@pytest.mark.parametrize(
    "form",
    [np.asarray, pd.DataFrame, sparse.csr_array, np.ndarray.tolist, torch.tensor],
)
def test_complex_inputs(form):
    message = "Complex data not supported: X must hold real numbers. Give the real and"
    with pytest.raises(ValueError, match=message):
        classifier().fit(form(X + 1j), Y)
    with pytest.raises(ValueError, match=message):
        FITTED.predict(form(X + 1j))


def test_complex_weights_and_labels():
    weight = np.ones(N) + 1j
    message = "must hold numbers.* complex"
    with pytest.raises(ValueError, match=f"sample_weight {message}"):
        classifier().fit(X, Y, weight)
    with pytest.raises(ValueError, match=f"sample_weight {message}"):
        task_scores(Y, Y, "accuracy", sample_weight=weight)
    with pytest.raises(ValueError, match=f"'task_weight' parameter {message}"):
        classifier(task_weight=[1j, 1]).fit(X, Y)
    with pytest.raises(ValueError, match="its labels must be numbers"):
        MultiTaskRegressor(**SETTINGS).fit(X, X + 1j)


# Parameters


@pytest.mark.parametrize(
    ("params", "message"),
    [
        (
            {"optimizer": "adma"},
            r"{'adam', 'adamw', 'sgd'} .* Did you mean 'adam'\?",
        ),
        ({"sharing": "hrad"}, r"{'adapter', 'adatt', .* Did you mean 'hard'\?"),
        ({"resampling": "cross"}, r"Did you mean 'crossfit'\?"),
        ({"encoder": MLP(activation="rleu")}, r"of MLP must .* Did you mean 'relu'\?"),
        ({"resampling": "zzz"}, r"Got 'zzz' instead\.$"),
        (
            {"callbacks": [5]},
            r"callbacks of skorch, .* pairs of a name and one\. Got 5",
        ),
        (
            {"callbacks": [("a", object())]},
            r"callbacks of skorch.*Got \('a', <object",
        ),
        (
            {"validation_metric": lambda: 1, "early_stopping": True},
            r"'validation_metric' parameter must be a function of two.* <lambda>\(\)",
        ),
        (
            {"validation_metric": "acuracy", "early_stopping": True},
            r"Got 'acuracy'\. Did you mean 'accuracy'\?",
        ),
        (
            {"optimizer": torch.optim.SparseAdam},
            "dense gradients, which SparseAdam",
        ),
        ({"missing_label": [1, 2]}, r"must be one value, such as -1 .* Got \[1, 2\]"),
        (
            {"missing_label": np.array([1])},
            "'missing_label' parameter must be one value",
        ),
        ({"missing_label": {}}, r"'missing_label' parameter must be one value.*Got {}"),
        ({"max_iter": True}, "'max_iter' parameter .* Got True"),
        ({"alpha": False}, "'alpha' parameter .* Got False"),
        (
            {"sharing": AutoGrouped(n_groups=99)},
            "'n_groups' parameter of AutoGrouped must be at most the number of tasks",
        ),
        (
            {"relation": LabelGraph(np.array([[0, 1j], [1j, 0]]))},
            "'adjacency' parameter of LabelGraph must hold numbers",
        ),
        (
            {"relation": GraphLaplacian([[0, 1j], [1j, 0]])},
            "'adjacency' parameter of GraphLaplacian must hold numbers",
        ),
        (
            {"relation": TaskGraph([[0, -1], [-1, 0]])},
            r"must not be negative with normalization='sym'\. Got -1\.0: set",
        ),
        ({"checkpoint": ""}, r"'checkpoint' parameter must be the path .* Got ''"),
        ({"checkpoint": "\0"}, r"'checkpoint' parameter must be the path .* Got"),
    ],
)
def test_parameters_that_cannot_be(params, message, monkeypatch):
    def train(*args, **options):
        raise AssertionError("training started")

    monkeypatch.setattr("skmtl.training.MultiTaskNet.train", train)
    with pytest.raises(ValueError, match=message):
        classifier(**params).fit(X, Y)


def test_callbacks_of_skorch_are_taken():
    loss = EpochScoring(lambda *args: 1.0, name="one")
    pairs = [("mine", loss), EpochScoring]
    from skmtl._estimators.fitting.callbacks import _check_callbacks

    _check_callbacks([loss, *pairs])


@pytest.mark.parametrize("size", [10**13, 10**18])
def test_networks_that_do_not_fit_into_memory(size):
    message = "does not fit into memory: lower the sizes of the encoder"
    with pytest.raises(MemoryError, match=message):
        classifier(encoder=MLP((size,), numeric_embedding=None)).fit(X, Y)


def test_settings_of_what_is_none():
    message = (
        "Invalid parameter 'relation__zz' for MultiTaskClassifier: its 'relation' is "
        "None, which has no settings. Set it first, for example relation="
    )
    with pytest.raises(ValueError, match=message):
        classifier().set_params(relation__zz=1)
    est = classifier().set_params(relation="trace_norm", relation__strength=2)
    assert est.relation.strength == 2


@pytest.mark.parametrize("name", ["module_", "history_", "weighting_"])
def test_attributes_of_what_is_not_fitted(name):
    for cls in (MultiTaskClassifier, MultiTaskRegressor, MultiTaskEstimator):
        assert not hasattr(cls(), name)
        with pytest.raises(NotFittedError, match=f"This {cls.__name__} instance"):
            getattr(cls(), name)


# Strategies by name that need settings


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"sharing": "grouped"}, r"all tasks share one encoder as with 'hard': give"),
        (
            {"weighting": "static"},
            r"all tasks weigh the same as with 'equal': give",
        ),
        ({"weighting": "primary_task"}, r"the first one is primary: give"),
    ],
)
def test_strategies_by_name_that_need_settings(params, message):
    with pytest.warns(UserWarning, match=message) as caught:
        classifier(n_estimators=1, **params).fit(X, Y)
    assert caught[0].filename == __file__


# Files


@pytest.mark.parametrize("path", [None, 5, b"a", "", "a\0b"])
def test_paths_that_cannot_be(path):
    message = "'path' parameter must be the path of a file or folder, a str or a"
    for call in (
        lambda: skmtl.save(FITTED, path),
        lambda: skmtl.load(path),
        lambda: skmtl.export_onnx(FITTED, path),
        lambda: FITTED.report_html(path),
    ):
        with pytest.raises((TypeError, ValueError), match=message):
            call()


@pytest.mark.parametrize("trusted", [None, 5])
def test_what_can_not_be_trusted(trusted, tmp_path):
    message = f"'trusted' parameter must be a sequence of import paths.*Got {trusted}"
    with pytest.raises(ValueError, match=message):
        skmtl.load(tmp_path / "model", trusted=trusted)


def test_exports_to_a_missing_folder_fail_before_the_export(tmp_path, monkeypatch):
    def export(*args, **kwargs):
        raise AssertionError("export started")

    monkeypatch.setattr(torch.onnx, "export", export)
    with pytest.raises(FileNotFoundError, match=r"the folder '.*missing' does not"):
        skmtl.export_onnx(FITTED, tmp_path / "missing" / "model.onnx")


# Plots, metrics, model selection


def test_axes_that_are_none():
    pytest.importorskip("matplotlib")
    message = r"'ax' parameter must be axes of matplotlib, .* or None\. Got 5"
    with pytest.raises(TypeError, match=message):
        TrainingCurveDisplay.from_estimator(FITTED, ax=5)


@pytest.mark.parametrize("empty", [[], [[]], np.zeros((0, 2))])
def test_gains_of_no_scores(empty):
    with pytest.raises(ValueError, match="must hold the score of at least one task"):
        delta_m(empty, empty)


def test_metrics_that_take_no_labels():
    with pytest.raises(ValueError, match=r"function of two arrays, \(y_true, y_pred\)"):
        task_scores(Y, Y, lambda: 1)


@pytest.mark.parametrize("name", ["train_size", "test_size"])
@pytest.mark.parametrize("size", [np.nan, True])
def test_sizes_of_splits_that_cannot_be(name, size):
    message = f"'{name}' parameter must be a share of the rows between 0 and 1.*{size}"
    with pytest.raises(ValueError, match=message):
        multitask_train_test_split(X, Y, **{name: size})
    with pytest.raises(ValueError, match=message):
        next(MultiTaskStratifiedShuffleSplit(**{name: size}).split(X, Y))


def test_bad_parameters_of_candidates_are_those_of_fit():
    message = r"'optimizer' parameter of MultiTaskClassifier .* Did you mean 'adam'\?"
    candidates = {"good": classifier(), "bad": classifier(optimizer="adma")}
    with pytest.raises(ValueError, match=message) as caught:
        compare_sharing(candidates, X, Y, cv=2)
    assert caught.value.__notes__ == ["This is the candidate 'bad'."]
    with pytest.raises(ValueError, match=message):
        cross_val_predict(candidates["bad"], X, Y, cv=2)
