"""Splitters that stratify several tasks, comparisons and searches."""

from skmtl.model_selection._compare import compare_sharing
from skmtl.model_selection._comparison import SharingComparison
from skmtl.model_selection._comparison_display import SharingComparisonDisplay
from skmtl.model_selection._weight_search import TaskWeightSearchCV

__all__ = [
    "SharingComparison",
    "SharingComparisonDisplay",
    "TaskWeightSearchCV",
    "compare_sharing",
]
