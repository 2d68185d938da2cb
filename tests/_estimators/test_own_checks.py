"""skmtl's own checks over every estimator and every sharing strategy."""

import pytest

from skmtl import MultiTaskClassifier, MultiTaskEstimator, MultiTaskRegressor
from skmtl.sharing import SHARING, Additive, TaskToken
from tests._checks import CHECKS, OF_LABELS
from tests._networks import plain_mlp
from tests._pairs import pairs

ESTIMATORS = [MultiTaskClassifier, MultiTaskRegressor, MultiTaskEstimator]
SHARINGS = {
    **{name: name for name in SHARING if name != "hard"},
    "penalised": Additive(strength=0.01),
    "task_token": TaskToken(token_width=16, n_tokens=4, n_blocks=1),  # in less time
}
#: Comparisons to 1e-7 of what is equal but for rounding, which a transformer amplifies
#: when it learns fast.
EXACT = {"check_integer_weights", "check_units"}


def estimator(cls, sharing, **settings):
    settings = {
        "learning_rate_init": 1e-2,
        "max_iter": 40,
        "n_estimators": 1,
        **settings,
    }
    return cls(sharing, encoder=plain_mlp((16,)), random_state=0, **settings)


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
@pytest.mark.parametrize("cls", ESTIMATORS)
@pytest.mark.sampled(3)
def test_estimator_passes_our_check(cls, check):
    check(estimator(cls, "hard"))


@pytest.mark.one_version
@pairs(
    ("sharing", "check", "cls"),
    SHARINGS,
    [check for check in CHECKS if check not in OF_LABELS],
    ESTIMATORS,
)
@pytest.mark.sampled(11)
def test_every_sharing_passes_our_check(sharing, check, cls):
    slowly = isinstance(sharing, TaskToken) and check.__name__ in EXACT
    rate = 1e-3 if slowly else 2e-2
    check(estimator(cls, sharing, learning_rate_init=rate, max_iter=20))
