"""Data sets with several tasks, and loaders of files on disk."""

from skmtl.datasets._cifar import load_cifar10
from skmtl.datasets._multi_digits import make_multi_digits
from skmtl.datasets._multitask import (
    make_multitask_classification,
    make_multitask_regression,
)
from skmtl.datasets._table import open_table

__all__ = [
    "load_cifar10",
    "make_multi_digits",
    "make_multitask_classification",
    "make_multitask_regression",
    "open_table",
]
