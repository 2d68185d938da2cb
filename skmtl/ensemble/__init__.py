"""Ensembles of networks and other models for several tasks."""

from skmtl.ensemble._stacking import (
    MultiTaskStackingClassifier,
    MultiTaskStackingEstimator,
    MultiTaskStackingRegressor,
)

__all__ = [
    "MultiTaskStackingClassifier",
    "MultiTaskStackingEstimator",
    "MultiTaskStackingRegressor",
]
