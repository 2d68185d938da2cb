"""scikit-learn's global settings change no prediction."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_array_equal
from sklearn import config_context
from sklearn.base import clone

from skmtl import MultiTaskEstimator
from tests.robustness._labels import labels
from tests.robustness._properties import probabilities_of, tried
from tests.robustness._settings import KINDS, estimators
from tests.robustness._tables import CATEGORIES, FRAMES, tables

pytestmark = [
    pytest.mark.one_version,  # which take their time
]

OPTIONS = {
    "transform_output": ["default", "pandas", "polars"],
    "enable_metadata_routing": [False, True],
    "array_api_dispatch": [False, True],
    "skip_parameter_validation": [False, True],
    "assume_finite": [False, True],
    "display": ["text", "diagram"],
}


def predictions(est, X, y):
    """Return values and probabilities after a fit, an error where it is documented."""
    est = clone(est)
    fitted = tried(est.fit, X, y)
    if fitted is not est:
        return str(fitted)
    values = np.asarray(est.predict(X)).astype(str)
    return [values, *(p for p in probabilities_of(est, X) if p is not None)]


@settings(max_examples=15)
@given(st.data())
def test_global_settings_change_nothing(data):
    est = data.draw(estimators(names=["encoder"])).set_params(max_iter=1)
    table = data.draw(
        tables(forms=[*CATEGORIES, *FRAMES], numbers=["normal"], gaps=[0])
    )
    own = data.draw(labels(KINDS[type(est)], gaps=[0, 0.1]))
    if isinstance(est, MultiTaskEstimator):
        est.set_params(task_types=[task.kind for task in own.tasks])
    n = data.draw(st.integers(2, 30))
    X, (y, missing_label) = table.given(n), own.given(n)
    est.set_params(missing_label=missing_label)
    drawn = {name: st.sampled_from(values) for name, values in OPTIONS.items()}
    first = predictions(est, X, y)
    with config_context(**data.draw(st.fixed_dictionaries(drawn))):
        second = predictions(est, X, y)
    if isinstance(first, str):
        assert first == second
    else:
        for one, other in zip(first, second, strict=True):
            assert_array_equal(one, other)
