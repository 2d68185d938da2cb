"""Scores of several tasks that skip missing labels, and scorers for searches."""

from skmtl.metrics._scorer import (
    MultiTaskScorer,
    multitask_scorer,
    multitask_scorers,
)
from skmtl.metrics._task_scores import task_scores

__all__ = [
    "MultiTaskScorer",
    "multitask_scorer",
    "multitask_scorers",
    "task_scores",
]
