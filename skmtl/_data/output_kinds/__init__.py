"""Kinds of outputs: loss, link, calibration and priors of tasks, one file per kind."""

from collections.abc import Sequence

from skmtl._data.labels import TaskType
from skmtl._data.output_kinds.base import ClassificationBlock as ClassificationBlock
from skmtl._data.output_kinds.base import OutputBlock as OutputBlock
from skmtl._data.output_kinds.binary import BinaryBlock as BinaryBlock
from skmtl._data.output_kinds.multiclass import MulticlassBlock as MulticlassBlock
from skmtl._data.output_kinds.regression import REGRESSION_LOSSES as REGRESSION_LOSSES
from skmtl._data.output_kinds.regression import RegressionBlock as RegressionBlock

#: A task belongs to the first kind that takes it.
OUTPUT_KINDS: tuple[type[OutputBlock], ...] = (
    RegressionBlock,
    BinaryBlock,
    MulticlassBlock,
)


def group_tasks(
    task_types: Sequence[TaskType], n_classes: Sequence[int]
) -> tuple[OutputBlock, ...]:
    """Group tasks whose losses one call can compute."""
    # A task of a single class needs no output and stands in no block.
    groups: dict[tuple[type[OutputBlock], int], list[int]] = {}
    for task, (task_type, k) in enumerate(zip(task_types, n_classes, strict=True)):
        for kind in OUTPUT_KINDS:
            group = kind.find_group(task_type, k)
            if group is not None:
                groups.setdefault((kind, group), []).append(task)
                break
    blocks: list[OutputBlock] = []
    start = 0
    for (kind, _), tasks in groups.items():
        sizes = tuple(kind.count_outputs(n_classes[t]) for t in tasks)
        blocks.append(kind(tuple(tasks), sizes, start))
        start = blocks[-1].stop
    return tuple(blocks)
