"""Which tasks depend on each other, and which belong together."""

from skmtl.inspection._group_tasks import group_tasks
from skmtl.inspection._label_dependence import label_dependence

__all__ = ["group_tasks", "label_dependence"]
