"""One task of a fitted multi-task estimator, as an estimator of one target."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.base import BaseEstimator, ClassifierMixin, RegressorMixin, clone
from sklearn.utils import get_tags
from sklearn.utils.validation import check_is_fitted

if TYPE_CHECKING:
    from skmtl._estimators.base import MultiTaskBase


def make_single_task_settings(estimator: BaseEstimator, number: int) -> Any:
    """Return an unfitted copy of an estimator with the settings of one task."""
    weighting = estimator.net_.given_weighting
    task_weighting = weighting.alone(number, estimator.task_names_[number])
    settings: dict[str, Any] = {
        "task_weight": None,
        "relation": None,
        "weighting": "equal" if task_weighting is None else task_weighting,
    }
    if hasattr(estimator, "class_weight"):
        settings["class_weight"] = estimator._resolve_class_weight(number)
    if hasattr(estimator, "task_types"):
        settings["task_types"] = [estimator.task_types_[number]]
    return clone(estimator).set_params(**settings)


def share_fitted(estimator: BaseEstimator, **attributes: Any) -> Any:
    """Return an estimator with other attributes that shares the fitted ones."""
    other = object.__new__(type(estimator))
    other.__dict__.update({**vars(estimator), **attributes})
    return other


class _TaskView(BaseEstimator):
    """What the views of classification and regression tasks have in common."""

    estimator_: MultiTaskBase
    _number: int

    def __init__(self, estimator: BaseEstimator, task: Any = 0) -> None:
        self.estimator = estimator
        self.task = task

    def _bound(self, estimator: BaseEstimator, number: int) -> Self:
        self.estimator_ = estimator
        self._number = number
        return self

    def fit(self, X: Any, y: ArrayLike, sample_weight: ArrayLike | None = None) -> Self:
        """Fit a model with the settings of ``estimator`` to this one target."""
        # Tools that refit, such as cross-validation, get a model of the task alone; the
        # multi-task model that this view came from is left as it is.
        # X of shape (n_samples, n_features), y of shape (n_samples,), sample_weight of
        # shape (n_samples,).
        fitted = clone(self.estimator).fit(X, y, sample_weight=sample_weight)
        if fitted.n_tasks_ != 1:
            raise ValueError(
                f"y must hold the labels of one task. Got {fitted.n_tasks_} columns."
            )
        return self._bound(fitted, 0)

    def predict(self, X: Any) -> NDArray[Any]:
        """Predict the task's labels."""
        # X of shape (n_samples, n_features); returns (n_samples,).
        check_is_fitted(self)
        outputs = self.estimator_._forward(X)
        codes = self.estimator_._predict_codes(outputs)
        columns = self.estimator_._targets.predict_columns(outputs, codes)
        return columns[self._number]  # type: ignore[no-any-return]

    @property
    def n_features_in_(self) -> int:
        """Number of features seen during fit."""
        return self.estimator_.n_features_in_  # type: ignore[no-any-return]

    @property
    def feature_names_in_(self) -> NDArray[Any]:
        """Names of the features seen during fit, where they have names."""
        return self.estimator_.feature_names_in_  # type: ignore[no-any-return]

    @feature_names_in_.setter
    def feature_names_in_(self, names: NDArray[Any] | None) -> None:
        # The estimator that this view is of, and its other views, keep their names.
        self.estimator_ = share_fitted(self.estimator_, feature_names_in_=names)

    def __sklearn_is_fitted__(self) -> bool:
        return hasattr(self, "estimator_")

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        of_all = get_tags(self.estimator).input_tags
        tags.input_tags.sparse = True
        tags.input_tags.allow_nan = of_all.allow_nan
        return tags


class TaskClassifier(ClassifierMixin, _TaskView):
    """A classification task of a multi-task estimator.

    Returned by ``task_estimator``; scikit-learn's tools for one target, such as
    calibration, ROC curves, partial dependence and thresholds, take it.

    Parameters
    ----------
    estimator : estimator
        Multi-task estimator with the settings for this task alone, which ``fit`` uses.
    task : str or int, default=0
        Name or number of the task.

    Attributes
    ----------
    classes_ : ndarray of shape (n_classes,)
        The task's labels.
    estimator_ : estimator
        The fitted multi-task estimator.
    n_features_in_ : int
        Number of features seen during fit.
    feature_names_in_ : ndarray of shape (n_features_in_,)
        Names of the features, where they have names.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn.datasets import load_iris
    >>> from skmtl import MultiTaskClassifier
    >>> X, species = load_iris(return_X_y=True)
    >>> Y = np.column_stack([species, X[:, 0] > 5.8])
    >>> est = MultiTaskClassifier(max_iter=5, random_state=0).fit(X, Y)
    >>> est.task_estimator("task1").predict_proba(X).shape
    (150, 2)
    """

    @property
    def classes_(self) -> NDArray[Any]:
        """The task's labels."""
        return self.estimator_._targets.classes[self._number]  # type: ignore[return-value]

    def predict_proba(self, X: Any) -> NDArray[Any]:
        """Predict the probability of each class."""
        # X of shape (n_samples, n_features); returns (n_samples, n_classes).
        check_is_fitted(self)
        outputs = self.estimator_._forward(X)
        return self.estimator_._targets.predict_proba(outputs)[self._number]  # type: ignore[return-value]

    def predict_log_proba(self, X: Any) -> NDArray[Any]:
        """Predict the logarithm of the probability of each class."""
        # X of shape (n_samples, n_features); returns (n_samples, n_classes).
        with np.errstate(divide="ignore"):
            return np.log(self.predict_proba(X))


class TaskRegressor(RegressorMixin, _TaskView):
    """A regression task of a multi-task estimator.

    Returned by ``task_estimator``; scikit-learn's tools for one target take it.

    Parameters
    ----------
    estimator : estimator
        Multi-task estimator with the settings for this task alone, which ``fit`` uses.
    task : str or int, default=0
        Name or number of the task.

    Attributes
    ----------
    estimator_ : estimator
        The fitted multi-task estimator.
    n_features_in_ : int
        Number of features seen during fit.
    feature_names_in_ : ndarray of shape (n_features_in_,)
        Names of the features, where they have names.

    Examples
    --------
    >>> from sklearn.datasets import load_linnerud
    >>> from skmtl import MultiTaskRegressor
    >>> X, Y = load_linnerud(return_X_y=True, as_frame=True)
    >>> est = MultiTaskRegressor(max_iter=5, random_state=0).fit(X, Y)
    >>> est.task_estimator("Pulse").predict(X).shape
    (20,)
    """
