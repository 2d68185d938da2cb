"""skmtl's own checks over every estimator and every sharing strategy."""

import pytest

from skmtl import MultiTaskClassifier, MultiTaskEstimator, MultiTaskRegressor
from skmtl.encoder import MLP
from skmtl.sharing import SHARING, Additive
from tests._checks import CHECKS

SHARINGS = {**{name: name for name in SHARING}, "penalised": Additive(strength=0.01)}


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
@pytest.mark.parametrize("sharing", SHARINGS.values(), ids=SHARINGS)
@pytest.mark.parametrize(
    "cls", [MultiTaskClassifier, MultiTaskRegressor, MultiTaskEstimator]
)
def test_estimator_passes_our_check(cls, sharing, check):
    check(
        cls(
            sharing,
            encoder=MLP((16,)),
            learning_rate_init=1e-2,
            max_iter=40,
            random_state=0,
        )
    )
