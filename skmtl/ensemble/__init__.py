"""Ensembles of networks and other models for several tasks."""

from skmtl.ensemble._stacking import (
    MultiTaskStackingClassifier,
    MultiTaskStackingEstimator,
    MultiTaskStackingRegressor,
)
from skmtl.ensemble._stacking_weight_display import StackingWeightDisplay

__all__ = [
    "MultiTaskStackingClassifier",
    "MultiTaskStackingEstimator",
    "MultiTaskStackingRegressor",
    "StackingWeightDisplay",
]
