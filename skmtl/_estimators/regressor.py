"""Several regression tasks."""

from collections.abc import Callable
from os import PathLike
from typing import TYPE_CHECKING, Any, Self

import numpy as np
import torch
from numpy.random import RandomState
from numpy.typing import ArrayLike
from sklearn.base import BaseEstimator, RegressorMixin
from torch import nn

from skmtl._core.options import fit_context
from skmtl._data.labels import LabelTable
from skmtl._data.targets import TaskType
from skmtl._estimators.base import MultiTaskBase
from skmtl._estimators.parameters import set_parameters
from skmtl._estimators.task_view import TaskRegressor
from skmtl.encoder import Encoder
from skmtl.relation import Relation
from skmtl.sharing import Sharing
from skmtl.weighting import Weighting


@set_parameters
class MultiTaskRegressor(MultiTaskBase, RegressorMixin, BaseEstimator):
    """Neural network for several numeric targets that share what they learn.

    Targets are standardised inside, each over its labelled rows, and predicted in their
    own units; labels may be missing. It is to several targets what
    `sklearn.neural_network.MLPRegressor` is to one.

    %(groups)s

    Parameters
    ----------
    %(parameters)s

    Attributes
    ----------
    %(attributes)s

    See Also
    --------
    MultiTaskClassifier : Several classes to predict.
    MultiTaskEstimator : Tasks of both kinds.

    Examples
    --------
    >>> from sklearn.datasets import load_linnerud
    >>> from skmtl import MultiTaskRegressor
    >>> X, Y = load_linnerud(return_X_y=True)
    >>> est = MultiTaskRegressor(random_state=0).fit(X, Y)
    >>> est.predict(X).shape
    (20, 3)
    """

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
        task_weight: Any = None,
        sampling: str | float | None = None,
        hard_example_mining: str | None = None,
        hard_example_fraction: float = 0.5,
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
        self.task_weight = task_weight
        self.sampling = sampling
        self.hard_example_mining = hard_example_mining
        self.hard_example_fraction = hard_example_fraction
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
        self, X: Any, y: ArrayLike, sample_weight: ArrayLike | None = None
    ) -> Self:
        """Make one pass over more data.

        Parameters
        ----------
        X : array-like or sparse matrix of shape (n_samples, n_features) or \
                (n_samples, channels, height, width)
            Inputs.
        y : array-like of shape (n_samples,) or (n_samples, n_tasks)
            Labels, one column per task, missing ones as in ``fit``.
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
        return self._partial_fit(X, y, sample_weight)

    if TYPE_CHECKING:

        def task_estimator(self, task: object) -> TaskRegressor: ...

    def _infer_task_types(
        self, columns: LabelTable, classes: object = None
    ) -> list[TaskType]:
        return ["regression"] * len(columns.columns)
