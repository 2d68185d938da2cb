"""predict and score shared by the estimators, and what they tell of the model."""

from numbers import Integral
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray
from sklearn.utils.validation import check_is_fitted
from torch import Tensor, nn

from skmtl._build import threads
from skmtl._columns import read_columns
from skmtl._data import read_weighted
from skmtl._fit import MultiTaskFit
from skmtl._score import task_scores
from skmtl._summary import sharing_counts
from skmtl._task import TaskClassifier, TaskRegressor, settings_alone
from skmtl.encoder import ENCODER, Encoder
from skmtl.relation import RELATION
from skmtl.sharing import SHARING
from skmtl.training import AUGMENTATION, Source, n_threads
from skmtl.weighting import WEIGHTING

REGISTRIES: dict[str, dict[str, Any]] = {
    "sharing": SHARING,
    "encoder": ENCODER,
    "weighting": WEIGHTING,
    "relation": RELATION,
    "augmentation": AUGMENTATION,
}


class MultiTaskBase(MultiTaskFit):
    """Base class of the estimators; see `MultiTaskClassifier`."""

    def set_params(self, **params: Any) -> Self:
        """Set the parameters of this estimator and of its strategies.

        Parameters
        ----------
        **params : dict
            Parameters by name. A nested one, such as ``sharing__strength``, turns a
            strategy that is named by a string into the object that holds its settings.

        Returns
        -------
        self : object
            The estimator.

        Raises
        ------
        ValueError
            If there is no such parameter or no strategy of that name.
        """
        for family in {name.partition("__")[0] for name in params if "__" in name}:
            value = params.get(family, getattr(self, family, None))
            registry = REGISTRIES.get(family)
            if registry is None or not isinstance(value, str):
                continue
            if value not in registry:
                raise ValueError(
                    f"The '{family}' parameter of {type(self).__name__} must be one of "
                    f"{sorted(registry)} to have settings. Got {value!r}."
                )
            params[family] = registry[value]()
        return super().set_params(**params)  # type: ignore[no-any-return, misc]

    @property
    def module_(self) -> nn.Module:
        """The trained `torch.nn.Module`."""
        return self.net_.module_  # type: ignore[no-any-return]

    @property
    def weighting_(self) -> nn.Module:
        """What has weighed the tasks, a `torch.nn.Module` with its state."""
        return self.net_.weighting_  # type: ignore[no-any-return]

    @property
    def history_(self) -> Any:
        """The history of skorch: one record per epoch."""
        return self.net_.history

    def _outputs(self, X: Any) -> Tensor:
        """Return the packed outputs of all tasks, of shape (n_samples, n_outputs)."""
        check_is_fitted(self)
        net = self.net_
        X = self._check_X(X, net.module__encoder, reset=False)
        dtype = net.module_.input_dtype
        device = next(net.module_.parameters()).device
        with n_threads(threads(self, net)):
            return net.outputs(Source(X, dtype, device, resident=False))

    def predict(self, X: Any) -> NDArray[Any]:
        """Predict the labels of all tasks.

        Parameters
        ----------
        X : array-like or sparse matrix of shape (n_samples, n_features) or \
                (n_samples, channels, height, width)
            Inputs.

        Returns
        -------
        ndarray of shape (n_samples,) or (n_samples, n_tasks)
            One-dimensional if y was, or had one column. Labels have the type of y;
            tasks of different types share an array of type object.
        """
        outputs = self._outputs(X)
        return self._targets.predict(outputs)

    def predict_frame(self, X: Any) -> Any:
        """Predict the labels of all tasks as a DataFrame.

        Parameters
        ----------
        X : array-like or sparse matrix of shape (n_samples, n_features) or \
                (n_samples, channels, height, width)
            Inputs; the index of a DataFrame is kept.

        Returns
        -------
        pandas.DataFrame of shape (n_samples, n_tasks)
            A column per task, named and typed as the task is.
        """
        pd = _pandas("predict_frame")
        outputs = self._outputs(X)
        columns = self._targets.predict_columns(outputs)
        index = X.index if hasattr(X, "iloc") else None
        named = dict(zip(self.task_names_, columns, strict=True))
        return pd.DataFrame(named, index=index)

    def task_estimator(self, task: Any) -> TaskClassifier | TaskRegressor:
        """Return a fitted estimator of one task, for tools that know only one target.

        Parameters
        ----------
        task : str or int
            A name in ``task_names_``, or the number of the task.

        Returns
        -------
        TaskClassifier or TaskRegressor
            A view of this estimator: what it has learned is not copied.
        """
        check_is_fitted(self)
        number = self._task_number(task)
        view = (
            TaskRegressor if self._targets.classes[number] is None else TaskClassifier
        )
        alone = settings_alone(self, number)
        return view(alone, self.task_names_[number])._bound(self, number)

    def score(self, X: Any, y: Any, sample_weight: Any = None) -> float:
        """Return the mean of the tasks' scores over the labels that are present.

        Parameters
        ----------
        X : array-like or sparse matrix of shape (n_samples, n_features) or \
                (n_samples, channels, height, width)
            Inputs.
        y : array-like of shape (n_samples,) or (n_samples, n_tasks)
            True labels; missing ones count for nothing.
        sample_weight : array-like of shape (n_samples,) or (n_samples, n_tasks), \
                default=None
            Weights of rows or of single labels.

        Returns
        -------
        float
            Mean over tasks of the accuracy of classification and the R² of regression;
            tasks without a label in y are left out.
        """
        outputs = self._outputs(X)
        columns = read_columns(y, self.missing_label)
        self._check_tasks(columns, self._targets)
        columns, weight = read_weighted(outputs, columns, sample_weight)
        scores = task_scores(self._targets, outputs, columns, weight)
        if np.isnan(scores).all():
            raise ValueError("y has too few labels to score: every task's are missing.")
        return float(np.nanmean(scores))

    def sharing_summary(self) -> Any:
        """Return how many parameters the tasks share, layer by layer.

        Returns
        -------
        pandas.DataFrame
            Numbers of parameters. The rows are the layers of the encoder ("layer 1",
            "layer 2", …; over all its copies), what the sharing strategy adds to it, by
            name, "relation", "heads", "coupling" and "total". The columns are

            - "shared": parameters that several tasks use, as those of a relation or a
              coupling of outputs do;
            - "per_task": parameters that belong to one task, those of all tasks
              together;
            - "total": the two together;
            - "separate": parameters that one network per task, each with the same
              encoder, would have.

        Examples
        --------
        >>> from sklearn.datasets import load_linnerud
        >>> from skmtl import MultiTaskRegressor
        >>> X, Y = load_linnerud(return_X_y=True)
        >>> MultiTaskRegressor(max_iter=1).fit(X, Y).sharing_summary()
                 shared  per_task  total  separate
        layer 1     512         0    512      1536
        layer 2   16512         0  16512     49536
        heads         0       387    387       387
        total     17024       387  17411     51459
        """
        pd = _pandas("sharing_summary")
        check_is_fitted(self)
        columns = ["shared", "per_task", "total", "separate"]
        counts = sharing_counts(self.net_)
        return pd.DataFrame.from_dict(counts, orient="index", columns=columns)

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.sparse = True
        encoder = self.encoder
        if isinstance(encoder, str) and encoder in ENCODER:
            encoder = ENCODER[encoder]()
        tags.input_tags.allow_nan = isinstance(encoder, Encoder) and encoder.allow_nan
        tags.target_tags.multi_output = True
        return tags

    def _task_number(self, task: Any) -> int:
        if task in self.task_names_:
            return int(self.task_names_.index(task))
        if isinstance(task, Integral) and -self.n_tasks_ <= int(task) < self.n_tasks_:
            return int(task) % self.n_tasks_
        raise ValueError(
            f"There is no task {task!r}. The tasks are {self.task_names_}: give one of "
            f"them, or a number below {self.n_tasks_}."
        )


def _pandas(method: str) -> Any:
    """Return pandas, or say what a method needs."""
    try:
        import pandas
    except ImportError as error:
        raise ImportError(
            f"{method} needs pandas: install it with `pip install 'skmtl[pandas]'`."
        ) from error
    return pandas
