"""Scores of several tasks that skip missing labels, and scorers for searches."""

from skmtl.metrics._delta_m import delta_m
from skmtl.metrics._reliability_display import ReliabilityDisplay
from skmtl.metrics._report import MultiTaskReport, multitask_report
from skmtl.metrics._scorer import (
    MultiTaskScorer,
    make_multitask_scorer,
    make_multitask_scorers,
)
from skmtl.metrics._task_scores import task_scores

__all__ = [
    "MultiTaskReport",
    "MultiTaskScorer",
    "ReliabilityDisplay",
    "delta_m",
    "make_multitask_scorer",
    "make_multitask_scorers",
    "multitask_report",
    "task_scores",
]
