"""Splits that know several tasks, comparisons of ways to share, and searches."""

from skmtl.model_selection._compare import compare_sharing
from skmtl.model_selection._comparison import SharingComparison
from skmtl.model_selection._comparison_display import SharingComparisonDisplay
from skmtl.model_selection._cross_val_predict import cross_val_predict
from skmtl.model_selection._group_k_fold import MultiTaskStratifiedGroupKFold
from skmtl.model_selection._k_fold import (
    MultiTaskStratifiedKFold,
    RepeatedMultiTaskStratifiedKFold,
)
from skmtl.model_selection._shuffle_split import (
    MultiTaskStratifiedShuffleSplit,
    multitask_train_test_split,
)
from skmtl.model_selection._weight_search import TaskWeightSearchCV

__all__ = [
    "MultiTaskStratifiedGroupKFold",
    "MultiTaskStratifiedKFold",
    "MultiTaskStratifiedShuffleSplit",
    "RepeatedMultiTaskStratifiedKFold",
    "SharingComparison",
    "SharingComparisonDisplay",
    "TaskWeightSearchCV",
    "compare_sharing",
    "cross_val_predict",
    "multitask_train_test_split",
]
