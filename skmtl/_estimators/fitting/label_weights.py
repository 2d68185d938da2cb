"""What weightings know of labels, and what they do to their weights."""

from dataclasses import replace

import numpy as np

from skmtl._data.targets import Targets
from skmtl._data.training_data import TrainingData, has_label, multiply_weights
from skmtl.weighting import TaskLabels, Weighting


def make_task_labels(data: TrainingData, targets: Targets) -> list[TaskLabels]:
    """Return what a weighting may know of the tasks."""
    tasks = []
    for t, labels in enumerate(data.labels):
        present = has_label(labels)
        weight = None if data.weight is None else data.weight[present, t]
        tasks.append(
            TaskLabels(
                targets.names[t],
                targets.classes[t],
                labels[present],
                weight,
                float(targets.mean[t]),
                float(targets.scale[t]),
            )
        )
    return tasks


def reweight_labels(
    data: TrainingData, weighting: Weighting, targets: Targets
) -> TrainingData:
    """Multiply weights of labels by the factors that a weighting gives."""
    if type(weighting).label_weights is Weighting.label_weights:
        return data
    weight = None
    for t, labels in enumerate(data.labels):
        present = has_label(labels)
        factors = weighting.label_weights(t, labels[present])
        if factors is None:
            continue
        if weight is None:
            shape = (len(labels), len(data.labels))
            weight = np.ones(shape) if data.weight is None else data.weight.copy()
        weight[present, t] = multiply_weights(
            weight[present, t], factors, "weighting", targets.names[t]
        )
    return data if weight is None else replace(data, weight=weight)
