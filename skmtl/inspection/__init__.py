"""Which tasks depend on each other, help each other and belong together; pictures."""

from skmtl.inspection._gate_usage_display import GateUsageDisplay
from skmtl.inspection._group_tasks import group_tasks
from skmtl.inspection._label_dependence import label_dependence
from skmtl.inspection._sharing_gain import SharingGain, sharing_gain
from skmtl.inspection._sharing_gain_display import SharingGainDisplay
from skmtl.inspection._task_affinity import task_affinity
from skmtl.inspection._task_affinity_display import TaskAffinityDisplay
from skmtl.inspection._task_graph_display import TaskGraphDisplay
from skmtl.inspection._task_weight_display import TaskWeightDisplay
from skmtl.inspection._training_curve_display import TrainingCurveDisplay

__all__ = [
    "GateUsageDisplay",
    "SharingGain",
    "SharingGainDisplay",
    "TaskAffinityDisplay",
    "TaskGraphDisplay",
    "TaskWeightDisplay",
    "TrainingCurveDisplay",
    "group_tasks",
    "label_dependence",
    "sharing_gain",
    "task_affinity",
]
