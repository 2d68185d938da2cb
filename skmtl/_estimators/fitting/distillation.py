"""Teachers, and what they say of the training rows: soft labels."""

import copy
from numbers import Integral
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.base import BaseEstimator, clone
from sklearn.utils.validation import _num_samples
from torch import Tensor

from skmtl._core.validation import match_tasks
from skmtl._data.output_kinds import ClassificationBlock
from skmtl._data.targets import UNSEEN, Targets
from skmtl._estimators.fitting.run import TrainingRun
from skmtl.metrics._unwrap import unwrap_estimator
from skmtl.training import InputSource, MultiTaskNet, TrainingRows
from skmtl.weighting import Weighting


def attach_soft_labels(
    estimator: BaseEstimator,
    run: TrainingRun,
    net: MultiTaskNet,
    rows: TrainingRows | list[TrainingRows],
    data: tuple[Any, ...],
    options: dict[str, Any],
) -> Any:
    """Give soft labels to the rows to train on, and return the teacher."""
    teacher, soft = run.settings.teacher, run.soft_labels
    if soft is None:
        teacher = _fit_independent_teacher(estimator, run)
        teacher._fit_atomically(*data, resume=run.fitted_net is not None, **options)
        soft = _compute_member_outputs(teacher, run)
    run.attach_soft_labels(rows, soft, net)
    return teacher


def _fit_independent_teacher(estimator: BaseEstimator, run: TrainingRun) -> Any:
    """Return an estimator like another, but with nothing shared between tasks."""
    # It chooses the same rows for its members, or to hold out, so that no member learns
    # by its teacher what the labels are that it is to be judged by.
    settings: dict[str, Any] = {"sharing": "independent", "relation": None}
    settings["record_gradients"] = False
    if hasattr(estimator, "task_types"):
        settings["task_types"] = list(run.targets.task_types)
    if type(run.weighting).label_weights is Weighting.label_weights:
        settings["weighting"] = "equal"  # of which only matters what it does to labels
    if not isinstance(estimator.random_state, Integral):
        settings["random_state"] = run.start
    teacher = clone(estimator).set_params(**settings)
    if run.fitted_net is not None:
        now = teacher.get_params(deep=False)
        teacher = copy.copy(estimator.teacher_)
        vars(teacher).update(now)
    vars(teacher).pop("_skl_callbacks", None)  # they watch the student
    return teacher


def _compute_member_outputs(teacher: BaseEstimator, run: TrainingRun) -> Tensor:
    """Return the outputs of each network, (n_estimators, n_samples, n_outputs)."""
    module, device = teacher.net_.module_, run.settings.device
    source = InputSource(run.data.X, module.input_dtype, device, False, module.inputs)
    return teacher.net_.compute_member_outputs(source)  # type: ignore[no-any-return]


def make_soft_labels(teacher: BaseEstimator, X: Any, targets: Targets) -> Tensor:
    """Return what a given teacher predicts, in the form of outputs."""
    # Returns (1, n_samples, n_outputs).
    parts, probabilities = [np.empty((_num_samples(X), 0))], None
    order = _match_teacher_classes(teacher, targets)
    for block in targets.blocks:
        if not isinstance(block, ClassificationBlock):
            parts.append(
                _standardize_values(teacher, X, targets, list(block.tasks), order)
            )
            continue
        if probabilities is None:
            probabilities = _predict_probabilities(teacher, X, targets)
        for t in block.tasks:
            with np.errstate(divide="ignore"):  # a class may be out of the question
                logs = np.log(_align_classes(*probabilities[order[t]], targets, t))
            parts.append(block.convert_log_proba(logs))
    return torch.from_numpy(np.hstack(parts)).unsqueeze(0)


def _match_teacher_classes(teacher: BaseEstimator, targets: Targets) -> list[int]:
    """Return where the teacher has each task, by name where it has names."""
    names = getattr(unwrap_estimator(teacher), "task_names_", None)
    if names is not None and len(names) == targets.n_tasks:
        order = match_tasks(names, targets.names, "The teacher", "task")
        if order is not None:
            return order
    return list(range(targets.n_tasks))


def _standardize_values(
    teacher: BaseEstimator, X: Any, targets: Targets, tasks: list[int], order: list[int]
) -> NDArray[np.float64]:
    """Return the predicted values of some tasks."""
    predicted = np.asarray(teacher.predict(X))
    predicted = predicted[:, np.newaxis] if predicted.ndim == 1 else predicted
    _check_number(predicted.shape[1], targets)
    columns = [order[t] for t in tasks]
    values: NDArray[np.float64] = predicted[:, columns].astype(np.float64)
    for t, column in zip(tasks, values.T, strict=True):
        _check_finite(column, targets.names[t])
    return (values - targets.mean[tasks]) / targets.scale[tasks]


#: A task's probabilities, of shape (n_samples, n_classes), and its classes.
_Known = tuple[NDArray[Any], NDArray[Any]]


def _predict_probabilities(
    teacher: BaseEstimator, X: Any, targets: Targets
) -> list[_Known]:
    """Return what a classifier knows of each task, in any of scikit-learn's forms."""
    if not (hasattr(teacher, "predict_proba") and hasattr(teacher, "classes_")):
        raise ValueError(
            "The teacher must have predict_proba and classes_ to teach classification "
            f"tasks. Got {teacher!r}: give a classifier that predicts probabilities."
        )
    P, classes = teacher.predict_proba(X), teacher.classes_
    if not isinstance(P, list):
        # One array for one task, or for binary labels, with a column for each.
        several = np.ndim(teacher.predict(X[:1])) == 2
        P = [np.column_stack([1 - p, p]) for p in P.T] if several else [P]
    if not isinstance(classes, list):
        classes = [np.arange(2)] * len(P) if len(P) > 1 else [classes]
    _check_number(len(P), targets)
    return list(zip(P, classes, strict=True))


def _align_classes(
    p: NDArray[Any], labels: NDArray[Any], targets: Targets, task: int
) -> NDArray[np.float64]:
    """Return the probabilities of a task's classes, zero for those never seen."""
    classes: Any = targets.classes[task]
    codes = targets.encode_classes(np.asarray(labels), task)
    if (codes == UNSEEN).any():
        label = np.asarray(labels)[codes == UNSEEN].tolist()[0]
        raise ValueError(
            f"The teacher knows the class {label!r} of task {targets.names[task]!r}, "
            f"which is none of its classes {classes.tolist()}: fit it on labels that "
            "are named as those of y."
        )
    _check_finite(p, targets.names[task])
    aligned = np.zeros((len(p), len(classes)))
    aligned[:, codes] = p
    return aligned


def _check_number(n_predicted: int, targets: Targets) -> None:
    if n_predicted != targets.n_tasks:
        raise ValueError(
            f"The teacher must predict the {targets.n_tasks} tasks of y. Got "
            f"{n_predicted}: fit it on the same columns."
        )


def _check_finite(values: NDArray[Any], name: object) -> None:
    bad = values[~np.isfinite(values)]
    if len(bad):
        raise ValueError(
            f"The teacher's predictions for task {name!r} must be finite. Got "
            f"{bad[0]}: give a teacher that knows all tasks and rows."
        )
