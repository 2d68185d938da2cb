"""Which tasks depend on each other, help each other and belong together."""

from skmtl.inspection._group_tasks import group_tasks
from skmtl.inspection._label_dependence import label_dependence
from skmtl.inspection._sharing_gain import SharingGain, sharing_gain
from skmtl.inspection._task_affinity import task_affinity

__all__ = [
    "SharingGain",
    "group_tasks",
    "label_dependence",
    "sharing_gain",
    "task_affinity",
]
