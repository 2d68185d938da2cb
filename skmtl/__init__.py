"""scikit-learn-compatible deep multi-task learning."""

from skmtl._estimators.classifier import MultiTaskClassifier
from skmtl._estimators.estimator import MultiTaskEstimator
from skmtl._estimators.persistence import export_onnx, get_trusted_types, load, save
from skmtl._estimators.regressor import MultiTaskRegressor

__all__ = [
    "MultiTaskClassifier",
    "MultiTaskEstimator",
    "MultiTaskRegressor",
    "export_onnx",
    "get_trusted_types",
    "load",
    "save",
]
__version__ = "0.1.0"
