"""Several classification tasks."""

from collections.abc import Callable
from os import PathLike
from typing import TYPE_CHECKING, Any, Self

import numpy as np
import torch
from numpy.random import RandomState
from numpy.typing import ArrayLike, NDArray
from sklearn.base import BaseEstimator, ClassifierMixin
from torch import nn

from skmtl._core.options import fit_context
from skmtl._data.labels import LabelTable
from skmtl._data.targets import Targets, TaskType
from skmtl._data.training_data import ClassWeight
from skmtl._estimators.base import MultiTaskBase
from skmtl._estimators.class_labels import (
    check_class_weight,
    check_declared_classes,
    resolve_class_weight,
)
from skmtl._estimators.parameters import set_parameters
from skmtl._estimators.prediction import ProbabilityPrediction
from skmtl._estimators.task_view import TaskClassifier
from skmtl.encoder import Encoder
from skmtl.relation import Relation
from skmtl.sharing import Sharing
from skmtl.weighting import Weighting


@set_parameters
class MultiTaskClassifier(
    ProbabilityPrediction, MultiTaskBase, ClassifierMixin, BaseEstimator
):
    """Neural network for several classification tasks that share what they learn.

    Tasks may differ in their number of classes, and labels may be missing. It is to
    several targets what `sklearn.neural_network.MLPClassifier` is to one.

    %(groups)s

    Parameters
    ----------
    %(parameters)s

    Attributes
    ----------
    classes_ : ndarray of shape (n_classes,) or list of ndarray
        Labels of each task; one array where y has one column.
    n_classes_ : int or list of int
        Number of classes of each task.
    thresholds_ : ndarray of shape (n_tasks,)
        With ``threshold``, the threshold of each task; NaN where it is not binary.
    %(attributes)s

    See Also
    --------
    MultiTaskRegressor : Several numbers to predict.
    MultiTaskEstimator : Tasks of both kinds.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn.datasets import load_iris
    >>> from skmtl import MultiTaskClassifier
    >>> X, species = load_iris(return_X_y=True)
    >>> Y = np.column_stack([species, X[:, 0] > 5.8])
    >>> est = MultiTaskClassifier(random_state=0).fit(X, Y)
    >>> est.predict(X[:2])
    array([[0, 0],
           [0, 0]])
    >>> est.score(X, Y) > 0.9
    True
    """

    classes_: NDArray[Any] | list[NDArray[Any]]
    n_classes_: int | list[int]
    thresholds_: NDArray[np.float64]

    def __init__(
        self,
        sharing: str | Sharing = "hard",
        *,
        encoder: str | Encoder | Callable[..., nn.Module] = "mlp",
        weighting: str | Weighting = "equal",
        relation: str | Relation | None = None,
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
        classes : array-like or list of array-like, default=None
            All labels of each task, which later calls may bring; needed at the first
            call. One array for one task; else a list of arrays, or a dict of them by
            task name.
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

    if TYPE_CHECKING:

        def task_estimator(self, task: object) -> TaskClassifier: ...

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
        self, columns: LabelTable, classes: object = None
    ) -> list[TaskType]:
        return ["classification"] * len(columns.columns)

    def _class_weight(self, targets: Targets) -> ClassWeight | None:
        return check_class_weight(self.class_weight, targets)

    def _resolve_class_weight(self, number: int) -> Any:
        return resolve_class_weight(self.class_weight, number, self._targets)

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.classifier_tags.multi_label = True
        return tags
