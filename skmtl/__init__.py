"""scikit-learn-compatible deep multi-task learning."""

from skmtl._classifier import MultiTaskClassifier
from skmtl._files import load, save
from skmtl._mixed import MultiTaskEstimator
from skmtl._regressor import MultiTaskRegressor

__all__ = [
    "MultiTaskClassifier",
    "MultiTaskEstimator",
    "MultiTaskRegressor",
    "load",
    "save",
]
__version__ = "0.1.0"
