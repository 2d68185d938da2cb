"""Splits that keep the labels of several tasks in proportion, and what needs them."""

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

__all__ = [
    "MultiTaskStratifiedGroupKFold",
    "MultiTaskStratifiedKFold",
    "MultiTaskStratifiedShuffleSplit",
    "RepeatedMultiTaskStratifiedKFold",
    "cross_val_predict",
    "multitask_train_test_split",
]
