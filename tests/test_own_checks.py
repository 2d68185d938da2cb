"""skmtl's own checks over every estimator and every sharing strategy."""

import pytest

from skmtl import MultiTaskClassifier, MultiTaskEstimator, MultiTaskRegressor
from skmtl.encoder import MLP
from skmtl.sharing import SHARING, Additive, TaskToken
from tests._checks import CHECKS

SHARINGS = {
    **{name: name for name in SHARING},
    "penalised": Additive(strength=0.01),
    "task_token": TaskToken(token_width=16, n_tokens=4, n_blocks=1),  # in less time
}
#: Comparisons to 1e-7 of what is equal but for rounding, which a transformer amplifies
#: when it learns fast.
EXACT = {"check_integer_weights", "check_units"}


sharings = pytest.mark.parametrize(
    "sharing",
    [
        pytest.param(
            sharing,
            id=name,
            marks=() if name in ("hard", "penalised") else pytest.mark.every_sharing,
        )
        for name, sharing in SHARINGS.items()
    ],
)


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
@sharings
@pytest.mark.parametrize(
    "cls", [MultiTaskClassifier, MultiTaskRegressor, MultiTaskEstimator]
)
def test_estimator_passes_our_check(cls, sharing, check):
    slowly = isinstance(sharing, TaskToken) and check.__name__ in EXACT
    check(
        cls(
            sharing,
            encoder=MLP((16,)),
            learning_rate_init=1e-3 if slowly else 1e-2,
            max_iter=40,
            random_state=0,
        )
    )
