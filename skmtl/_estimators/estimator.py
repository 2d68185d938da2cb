"""Tasks of both kinds."""

from collections.abc import Callable
from os import PathLike
from typing import Any, Self

import numpy as np
import torch
from numpy.random import RandomState
from numpy.typing import ArrayLike, NDArray
from sklearn.base import BaseEstimator
from torch import nn

from skmtl._core.options import fit_context
from skmtl._data.labels import (
    TASK_TYPES,
    LabelTable,
    TaskType,
    infer_task_types,
    warn_unclear_task_types,
)
from skmtl._data.targets import Targets
from skmtl._data.training_data import ClassWeight
from skmtl._estimators.base import MultiTaskBase
from skmtl._estimators.class_labels import (
    check_class_weight,
    check_declared_classes,
    resolve_class_weight,
)
from skmtl._estimators.parameters import set_parameters
from skmtl._estimators.prediction import ProbabilityPrediction
from skmtl.encoder import Encoder
from skmtl.relation import Relation
from skmtl.sharing import Sharing
from skmtl.weighting import Weighting


@set_parameters
class MultiTaskEstimator(ProbabilityPrediction, MultiTaskBase, BaseEstimator):
    """Neural network for tasks of both kinds: some classes, some numbers.

    %(groups)s

    Parameters
    ----------
    %(parameters)s

    Attributes
    ----------
    classes_ : list or ndarray of shape (n_classes,)
        Labels of each classification task, None for regression; one array where y is
        one column of classes.
    n_classes_ : list of int or int
        Number of classes of each task, zero for regression.
    task_types_ : list of {"classification", "regression"}
        Kind of each task.
    thresholds_ : ndarray of shape (n_tasks,)
        With ``threshold``, the threshold of each task; NaN where it is not binary.
    %(attributes)s

    See Also
    --------
    MultiTaskClassifier : Classification only, with scikit-learn's classifier type.
    MultiTaskRegressor : Regression only, with scikit-learn's regressor type.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from skmtl import MultiTaskEstimator
    >>> iris = load_iris(as_frame=True)
    >>> X, Y = iris.data.iloc[:, :3], iris.frame[["target", "petal width (cm)"]]
    >>> est = MultiTaskEstimator(random_state=0).fit(X, Y)
    >>> est.task_types_
    ['classification', 'regression']
    >>> est.predict_frame(X).dtypes.astype(str).tolist()
    ['int64', 'float64']
    """

    classes_: NDArray[Any] | list[NDArray[Any] | None]
    n_classes_: int | list[int]
    task_types_: list[TaskType]
    thresholds_: NDArray[np.float64]

    def __init__(
        self,
        sharing: str | Sharing = "hard",
        *,
        encoder: str | Encoder | Callable[..., nn.Module] = "mlp",
        weighting: str | Weighting = "equal",
        relation: str | Relation | None = None,
        loss: str = "squared_error",
        augmentation: Any = None,
        n_estimators: int | str = "auto",
        resampling: str | None = "crossfit",
        calibrate: bool = True,
        optimizer: str | type[torch.optim.Optimizer] = "adamw",
        learning_rate_init: float = 3e-3,
        alpha: float = 1e-2,
        batch_size: int | str = "auto",
        max_iter: int = 100,
        shuffle: bool = True,
        early_stopping: bool | str = "auto",
        validation_fraction: float = 0.1,
        validation_metric: Any = "loss",
        validation_average: Any = "macro",
        stop_tasks: bool = False,
        n_iter_no_change: float | str = "auto",
        tol: float = 1e-4,
        class_weight: Any = None,
        task_weight: Any = None,
        sampling: str | float | None = None,
        hard_example_mining: str | None = None,
        hard_example_fraction: float = 0.5,
        threshold: str | None = None,
        task_types: Any = None,
        missing_label: Any = np.nan,
        accelerator: Any = None,
        device: str | torch.device = "auto",
        precision: str = "auto",
        compile: bool | str = False,
        n_threads: int | None = None,
        warm_start: bool = False,
        checkpoint: str | PathLike[str] | None = None,
        checkpoint_every: int = 10,
        on_interrupt: str = "raise",
        random_state: int | RandomState | None = None,
        callbacks: list[Any] | None = None,
        record_gradients: bool = False,
        verbose: int = 0,
    ) -> None:
        self.sharing = sharing
        self.encoder = encoder
        self.weighting = weighting
        self.relation = relation
        self.loss = loss
        self.augmentation = augmentation
        self.n_estimators = n_estimators
        self.resampling = resampling
        self.calibrate = calibrate
        self.optimizer = optimizer
        self.learning_rate_init = learning_rate_init
        self.alpha = alpha
        self.batch_size = batch_size
        self.max_iter = max_iter
        self.shuffle = shuffle
        self.early_stopping = early_stopping
        self.validation_fraction = validation_fraction
        self.validation_metric = validation_metric
        self.validation_average = validation_average
        self.stop_tasks = stop_tasks
        self.n_iter_no_change = n_iter_no_change
        self.tol = tol
        self.class_weight = class_weight
        self.task_weight = task_weight
        self.sampling = sampling
        self.hard_example_mining = hard_example_mining
        self.hard_example_fraction = hard_example_fraction
        self.threshold = threshold
        self.task_types = task_types
        self.missing_label = missing_label
        self.accelerator = accelerator
        self.device = device
        self.precision = precision
        self.compile = compile
        self.n_threads = n_threads
        self.warm_start = warm_start
        self.checkpoint = checkpoint
        self.checkpoint_every = checkpoint_every
        self.on_interrupt = on_interrupt
        self.random_state = random_state
        self.callbacks = callbacks
        self.record_gradients = record_gradients
        self.verbose = verbose

    @fit_context(prefer_skip_nested_validation=True)
    def partial_fit(
        self,
        X: Any,
        y: ArrayLike,
        classes: object = None,
        sample_weight: ArrayLike | None = None,
    ) -> Self:
        """Make one pass over more data.

        Parameters
        ----------
        X : array-like or sparse matrix of shape (n_samples, n_features) or \
                (n_samples, channels, height, width)
            Inputs.
        y : array-like of shape (n_samples,) or (n_samples, n_tasks)
            Labels, one column per task, missing ones as in ``fit``.
        classes : list of array-like, default=None
            All labels of each classification task and None for each regression task;
            needed at the first call where there are classification tasks.
        sample_weight : array-like of shape (n_samples,) or (n_samples, n_tasks), \
                default=None
            Weights of rows or of single labels.

        Returns
        -------
        self : object
            The estimator.

        Raises
        ------
        ValueError
            If the data do not fit those of the first call; nothing changes then.
        """
        return self._partial_fit(X, y, sample_weight, classes)

    def _partial_fit(
        self,
        X: Any,
        y: ArrayLike,
        sample_weight: ArrayLike | None,
        classes: object = None,
    ) -> Self:
        classes = check_declared_classes(self, y, classes)
        return super()._partial_fit(X, y, sample_weight, classes)

    def _infer_task_types(
        self, columns: LabelTable, classes: Any = None
    ) -> list[TaskType]:
        task_types = self.task_types
        if task_types is None and classes is not None:
            task_types = [TASK_TYPES[entry is None] for entry in classes]
        kinds = infer_task_types(columns, task_types)
        warn_unclear_task_types(columns, task_types)
        return kinds

    def _class_weight(self, targets: Targets) -> ClassWeight | None:
        return check_class_weight(self.class_weight, targets)

    def _resolve_class_weight(self, number: int) -> Any:
        return resolve_class_weight(self.class_weight, number, self._targets)

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.target_tags.required = True
        return tags
