"""scikit-learn-compatible deep multi-task learning."""

from skmtl._classifier import MultiTaskClassifier
from skmtl._files import export_onnx, load, save, skops_types
from skmtl._mixed import MultiTaskEstimator
from skmtl._regressor import MultiTaskRegressor

__all__ = [
    "MultiTaskClassifier",
    "MultiTaskEstimator",
    "MultiTaskRegressor",
    "export_onnx",
    "load",
    "save",
    "skops_types",
]
__version__ = "0.1.0"
