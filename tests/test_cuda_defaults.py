"""The shipped default on a CUDA device; test_cuda.py has the rest."""

import pytest
import torch

from tests.test_cuda import DEVICE, TARGETS, X, check_device, kinds

pytestmark = [
    pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no CUDA device"),
    pytest.mark.filterwarnings("ignore::UserWarning"),
]


@kinds
def test_the_default_model_learns_on_the_card(kind):
    cls, y = TARGETS[kind]
    est = cls(max_iter=3, random_state=0, device=DEVICE).fit(X, y)
    assert est.n_estimators_ == 8
    assert est.net_.stacked
    check_device(est)
