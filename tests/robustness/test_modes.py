"""What is global in torch does not matter."""

from contextlib import contextmanager

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.robustness._settings import estimators
from tests.robustness.test_invariance import assert_alike, fits, predictions

pytestmark = [
    pytest.mark.one_version,  # which take their time
]


@contextmanager
def default_dtype(dtype):
    before = torch.get_default_dtype()
    torch.set_default_dtype(dtype)
    try:
        yield
    finally:
        torch.set_default_dtype(before)


MODES = {
    "float64": lambda: default_dtype(torch.float64),
    "float16": lambda: default_dtype(torch.float16),
    "device": lambda: torch.device("meta"),
    "no_grad": torch.no_grad,
    "inference_mode": torch.inference_mode,
}
STRATEGIES = ["sharing", "weighting", "relation", "augmentation", "n_estimators"]


@st.composite
def strategies_of(draw):
    """Draw an estimator with any strategies, inputs and labels."""
    est, X, own, columns = draw(fits())
    other = draw(estimators(kinds=(type(est),), names=STRATEGIES, most=3))
    for name in STRATEGIES:
        est.set_params(**{name: getattr(other, name)})
    return est, X, own.of(columns)[0]


@settings(max_examples=max(1, settings().max_examples // 5))
@given(strategies_of(), st.sampled_from(sorted(MODES)))
def test_modes_of_torch_are_no_matter(fit, mode):
    est, X, y = fit
    expected = predictions(est, X, y)
    with MODES[mode]():
        found = predictions(est, X, y)
    assert_alike(expected, found, atol=0)
