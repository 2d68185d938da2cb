"""The estimators, and what fits, saves and reports them."""

from skmtl._estimators.classifier import MultiTaskClassifier
from skmtl._estimators.estimator import MultiTaskEstimator
from skmtl._estimators.persistence.import_paths import ESTIMATORS
from skmtl._estimators.regressor import MultiTaskRegressor

ESTIMATORS.update(
    {
        cls.__name__: cls
        for cls in (MultiTaskClassifier, MultiTaskEstimator, MultiTaskRegressor)
    }
)
