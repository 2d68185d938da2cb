"""The picture of stacking weights shows what weights_ holds."""

import matplotlib.pyplot as plt
import numpy as np
import pytest
from numpy.testing import assert_array_equal
from sklearn.datasets import load_digits
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from skmtl.ensemble import MultiTaskStackingClassifier, StackingWeightDisplay


@pytest.fixture(autouse=True)
def close():
    yield
    plt.close("all")


@pytest.fixture(scope="module")
def data():
    X, digit = load_digits(return_X_y=True)
    return X[:200], np.column_stack([digit[:200] % 2, digit[:200] > 4])


def test_weights_of_a_pipeline_s_last_step_are_shown(data):
    stack = MultiTaskStackingClassifier(["linear", "extra_trees"], cv=3, random_state=0)
    pipeline = make_pipeline(StandardScaler(), stack).fit(*data)
    _, ax = plt.subplots()
    display = StackingWeightDisplay.from_estimator(pipeline, ax=ax)
    weights = stack.weights_
    assert_array_equal(display.image_.get_array(), weights)
    shown = [f"{weight:.2f}" for weight in weights.to_numpy().ravel()]
    assert [text.get_text() for text in display.texts_] == shown
    names = [label.get_text() for label in display.ax_.get_xticklabels()]
    assert names == ["linear", "extra_trees"]
    rows = [label.get_text() for label in display.ax_.get_yticklabels()]
    assert rows == ["task0", "task1"]
    assert display.ax_ is ax
    assert display.plot().ax_ is not ax


def test_what_has_no_weights_is_refused(data):
    with pytest.raises(ValueError, match="must be a stacking estimator"):
        StackingWeightDisplay.from_estimator(LogisticRegression())
    stack = MultiTaskStackingClassifier(["linear"], cv=3, final="linear")
    with pytest.raises(AttributeError, match="final='average'"):
        StackingWeightDisplay.from_estimator(stack.fit(*data))


def test_many_models_have_no_numbers():
    weights = np.full((3, 14), 1 / 14)
    display = StackingWeightDisplay(
        weights=weights,
        task_names=list("abc"),
        model_names=[f"m{i}" for i in range(14)],
    )
    assert display.plot().texts_ == []
