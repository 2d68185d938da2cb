"""Stacking of networks and other models for several tasks."""

from typing import Any, ClassVar

import numpy as np
from numpy.random import RandomState
from sklearn.base import BaseEstimator, ClassifierMixin, RegressorMixin

from skmtl._core.validation import StrOptions
from skmtl._data.labels import (
    LabelTable,
    TaskType,
    infer_task_types,
    warn_unclear_task_types,
)
from skmtl._data.targets import Targets
from skmtl._estimators.class_labels import make_class_attributes
from skmtl._estimators.classifier import MultiTaskClassifier
from skmtl._estimators.estimator import MultiTaskEstimator
from skmtl._estimators.prediction import ProbabilityPrediction
from skmtl._estimators.regressor import MultiTaskRegressor
from skmtl._estimators.thresholds import SCORES
from skmtl.ensemble._base import MultiTaskStacking

PARAMETERS = """\
estimators : list of str or of (str, estimator) tuples, default=None
        The models: None for ``["skmtl", "extra_trees", "hist_gradient_boosting"]``,
        without the last where X is sparse. Names stand for "skmtl", its estimator with
        default settings; "extra_trees", "random_forest", "hist_gradient_boosting" and
        "linear" of scikit-learn; "catboost", "lightgbm" and "xgboost" of the packages
        of these names. Any estimator of scikit-learn's kind can be given with a name
        of its own, pipelines too. One that takes several outputs is fitted once if all
        tasks have all labels; others are fitted to each task on the rows that have its
        label. Estimators of skmtl are fitted once in any case.
    final : {{"average", "linear"}}, default="average"
        How predictions are combined: "average" by weights for each task, non-negative
        and of sum one; "linear" by a linear model for each task that reads the
        predictions for all tasks, which takes many labels.
    metric : str, callable or dict, default=None
        What weights of the average are chosen by. None: the log-loss of classification
        and the squared error of regression tasks. Else a metric of single tasks, as
        `skmtl.metrics.make_multitask_scorer` takes it, for greedy selection of models.
    shrinkage : float, default=100.0
        How strongly the weights of each task are drawn to those that suit all tasks
        together: the number of labels that these count as. 0 fits each task alone,
        ``np.inf`` gives all tasks the same weights.
    cv : int, splitter or iterable, default=8
        Folds of the cross-fitted predictions: a number of stratified, shuffled folds,
        or a splitter in which each row is in one test set.{threshold}{task_types}
    missing_label : object, default=nan
        A value that marks a missing label, beside None, NaN, NaT, pandas' NA and masked
        entries, which always do.
    n_jobs : int or None, default=None
        Number of fits to run at once; -1 for all processors.
    random_state : int, RandomState instance or None, default=None
        Source of the folds and of the models that are given by name. Pass an int for
        the same results in each call.
    verbose : int, default=0
        How much joblib tells of the fits."""

ATTRIBUTES = """\
named_estimators_ : dict
        Fitted models by name: an estimator of all tasks, or a list with one per task.
    weights_ : DataFrame of shape (n_tasks, n_models)
        Weights of the models in each task, with ``final="average"``.
    n_tasks_ : int
        Number of tasks.
    task_names_ : list
        Names of the tasks.
    n_features_in_ : int
        Number of columns of X.
    feature_names_in_ : ndarray of shape (n_features,)
        Names of the columns, where all are strings.
    oof_prediction_ : list of ndarray
        Combined predictions for the training rows: each by models that have not been
        trained on the row, and by weights that its fold has not chosen.
    oof_scores_ : ndarray of shape (n_tasks,)
        Accuracy or R² of these for each task.
    oof_score_ : float
        Mean of ``oof_scores_`` over tasks."""

THRESHOLD = """
    threshold : str or None, default=None
        A score such as "f1" for which the threshold of each binary task is chosen by
        the out-of-fold predictions; None for the most probable class."""

TASK_TYPES = """
    task_types : list or dict, default=None
        "classification" or "regression" for each task, or for some by name; None for
        what the labels show."""


def _document(**parts: str) -> Any:
    """Return a decorator that fills in what the classes' documentation shares."""

    def decorate(cls: type) -> type:
        texts = {"threshold": "", "task_types": "", **parts}
        parameters = PARAMETERS.format(**texts)
        cls.__doc__ = (cls.__doc__ or "") % {
            "parameters": parameters,
            "attributes": ATTRIBUTES,
        }
        return cls

    return decorate


@_document(threshold=THRESHOLD)
class MultiTaskStackingClassifier(
    ProbabilityPrediction, MultiTaskStacking, ClassifierMixin, BaseEstimator
):
    r"""Stack networks, forests and other models for several classification tasks.

    Each model is cross-fitted, and its predictions are averaged with weights that are
    learned from the predictions for rows that it has not been trained on. Tasks may
    differ in their number of classes, and labels may be missing.

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
    MultiTaskStackingRegressor : Several numbers to predict.
    MultiTaskStackingEstimator : Tasks of both kinds.

    Notes
    -----
    With the probability :math:`p_{ki}` that model k gives to the label i of task t,
    the weights w of the task maximise

    .. math:: \sum_i \log \sum_k w_k p_{ki} + s \sum_k v_k \log w_k

    for the ``shrinkage`` s and the weights v that maximise the first term for all
    tasks together. Regression minimises the mean squared error of averages, with the
    penalty :math:`s \lVert w - v \rVert^2 / n` for n labels. With ``metric``, models
    are picked greedily and with replacement for each task and for all together [1]_;
    the weights are the mean of both, the labels of a task against ``shrinkage``. The
    linear models read the predictions for all tasks, as in multi-target stacking [2]_.

    An estimator of skmtl has out-of-fold predictions of its own, which are used as
    they are unless ``groups`` are given; other models are fitted once more for each
    fold. Out-of-fold predictions of the stack are combined by weights that other
    folds choose.

    References
    ----------
    .. [1] R. Caruana et al., "Ensemble Selection from Libraries of Models", ICML 2004.
    .. [2] E. Spyromitros-Xioufis et al., "Multi-Target Regression via Input Space
       Expansion: Treating Targets as Inputs", Machine Learning 2016.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn.datasets import load_digits
    >>> from sklearn.linear_model import LogisticRegression
    >>> from skmtl.ensemble import MultiTaskStackingClassifier
    >>> X, digit = load_digits(return_X_y=True)
    >>> Y = np.column_stack([digit, digit > 4])
    >>> models = ["extra_trees", ("logistic", LogisticRegression(max_iter=1000))]
    >>> est = MultiTaskStackingClassifier(models, cv=3, random_state=0)
    >>> est.fit(X[:300], Y[:300]).predict(X[300:302])
    array([[7, 1],
           [3, 1]])
    >>> est.weights_.round(1)
           extra_trees  logistic
    task0          0.1       0.9
    task1          0.2       0.8
    """

    _network = MultiTaskClassifier
    _parameter_constraints: ClassVar[dict[str, Any]] = {
        **MultiTaskStacking._parameter_constraints,
        "threshold": [StrOptions(set(SCORES)), None],
    }

    def __init__(
        self,
        estimators: Any = None,
        *,
        final: str = "average",
        metric: Any = None,
        shrinkage: float = 100.0,
        cv: Any = 8,
        threshold: str | None = None,
        missing_label: Any = np.nan,
        n_jobs: int | None = None,
        random_state: int | RandomState | None = None,
        verbose: int = 0,
    ) -> None:
        self.estimators = estimators
        self.final = final
        self.metric = metric
        self.shrinkage = shrinkage
        self.cv = cv
        self.threshold = threshold
        self.missing_label = missing_label
        self.n_jobs = n_jobs
        self.random_state = random_state
        self.verbose = verbose

    def _infer_task_types(self, columns: LabelTable) -> list[TaskType]:
        return ["classification"] * len(columns.columns)

    def _set_kinds(self, targets: Targets) -> None:
        make_class_attributes(self, targets)

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.classifier_tags.multi_label = True
        return tags


@_document()
class MultiTaskStackingRegressor(MultiTaskStacking, RegressorMixin, BaseEstimator):
    """Stack networks, forests and other models for several regression tasks.

    Each model is cross-fitted, and its predictions are averaged with weights that are
    learned from the predictions for rows that it has not been trained on. Labels may
    be missing.

    Parameters
    ----------
    %(parameters)s

    Attributes
    ----------
    %(attributes)s

    See Also
    --------
    MultiTaskStackingClassifier : Classification tasks, with what weights minimise.
    MultiTaskStackingEstimator : Tasks of both kinds.

    Examples
    --------
    >>> from sklearn.datasets import load_linnerud
    >>> from skmtl.ensemble import MultiTaskStackingRegressor
    >>> X, Y = load_linnerud(return_X_y=True, as_frame=True)
    >>> est = MultiTaskStackingRegressor(["extra_trees", "linear"], random_state=0)
    >>> est.fit(X, Y).weights_.round(1)
            extra_trees  linear
    Weight          0.0     1.0
    Waist           0.0     1.0
    Pulse           0.0     1.0
    """

    _network = MultiTaskRegressor
    threshold = None

    def __init__(
        self,
        estimators: Any = None,
        *,
        final: str = "average",
        metric: Any = None,
        shrinkage: float = 100.0,
        cv: Any = 8,
        missing_label: Any = np.nan,
        n_jobs: int | None = None,
        random_state: int | RandomState | None = None,
        verbose: int = 0,
    ) -> None:
        self.estimators = estimators
        self.final = final
        self.metric = metric
        self.shrinkage = shrinkage
        self.cv = cv
        self.missing_label = missing_label
        self.n_jobs = n_jobs
        self.random_state = random_state
        self.verbose = verbose

    def _infer_task_types(self, columns: LabelTable) -> list[TaskType]:
        return ["regression"] * len(columns.columns)


@_document(threshold=THRESHOLD, task_types=TASK_TYPES)
class MultiTaskStackingEstimator(
    ProbabilityPrediction, MultiTaskStacking, BaseEstimator
):
    """Stack networks, forests and other models for tasks of both kinds.

    Each model is cross-fitted, and its predictions are averaged with weights that are
    learned from the predictions for rows that it has not been trained on. A classifier
    predicts the classification and a regressor the regression tasks; models that are
    given by name predict both.

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
    MultiTaskStackingClassifier : Classification tasks, with what weights minimise.
    MultiTaskStackingRegressor : Several numbers to predict.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from skmtl.ensemble import MultiTaskStackingEstimator
    >>> iris = load_iris(as_frame=True)
    >>> X, Y = iris.data.iloc[:, :3], iris.frame[["target", "petal width (cm)"]]
    >>> est = MultiTaskStackingEstimator(["extra_trees", "linear"], random_state=0)
    >>> est.fit(X, Y).weights_.round(1)
                      extra_trees  linear
    target                    1.0     0.0
    petal width (cm)          0.5     0.5
    """

    _network = MultiTaskEstimator
    _parameter_constraints: ClassVar[dict[str, Any]] = {
        **MultiTaskStackingClassifier._parameter_constraints,
        "task_types": ["array-like", dict, None],
    }

    def __init__(
        self,
        estimators: Any = None,
        *,
        final: str = "average",
        metric: Any = None,
        shrinkage: float = 100.0,
        cv: Any = 8,
        threshold: str | None = None,
        task_types: Any = None,
        missing_label: Any = np.nan,
        n_jobs: int | None = None,
        random_state: int | RandomState | None = None,
        verbose: int = 0,
    ) -> None:
        self.estimators = estimators
        self.final = final
        self.metric = metric
        self.shrinkage = shrinkage
        self.cv = cv
        self.threshold = threshold
        self.task_types = task_types
        self.missing_label = missing_label
        self.n_jobs = n_jobs
        self.random_state = random_state
        self.verbose = verbose

    def _infer_task_types(self, columns: LabelTable) -> list[TaskType]:
        kinds = infer_task_types(columns, self.task_types)
        warn_unclear_task_types(columns, self.task_types)
        return kinds

    def _set_kinds(self, targets: Targets) -> None:
        make_class_attributes(self, targets)
        self.task_types_ = list(targets.task_types)
