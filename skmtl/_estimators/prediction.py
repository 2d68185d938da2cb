"""Predictions, scores and prediction regions from packed outputs of all tasks."""

from numbers import Integral
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.base import BaseEstimator
from sklearn.utils.validation import check_is_fitted
from torch import Tensor

from skmtl._core.dataframes import make_frame
from skmtl._core.options import available_if
from skmtl._core.validation import import_pandas
from skmtl._data.labels import LabelTable, read_labels
from skmtl._data.targets import Targets
from skmtl._data.training_data import apply_sample_weight, check_not_transposed
from skmtl._estimators.conformal import CrossConformal, check_coverage
from skmtl._estimators.fitting.out_of_fold import NEEDS_FOLDS, OutOfFoldPredictions
from skmtl._estimators.scores import task_scores
from skmtl._estimators.task_view import (
    TaskClassifier,
    TaskRegressor,
    make_single_task_settings,
)
from skmtl._estimators.thresholds import predict_codes


class MultiTaskPrediction:
    """Mixin of estimators of several tasks that compute packed outputs."""

    missing_label: Any
    n_tasks_: int
    task_names_: list[Any]
    thresholds_: NDArray[np.float64]
    _targets: Targets
    _oof: OutOfFoldPredictions | None

    def _forward(self, X: Any) -> Tensor:
        """Return the packed outputs of all tasks, of shape (n_samples, n_outputs)."""
        raise NotImplementedError

    def _predict_fold_sets(self, X: Any, coverage: float) -> list[NDArray[Any]]:
        """Return sets of classes by the networks that hold out each fold."""
        raise NotImplementedError

    def _make_single_task(self, number: int) -> Any:
        """Return an unfitted copy with the settings of one task."""
        return make_single_task_settings(self, number)

    def _predict_codes(self, outputs: Tensor) -> NDArray[np.int64]:
        """Return the class that each task predicts, of shape (n_samples, n_tasks)."""
        if hasattr(self, "thresholds_"):
            return predict_codes(self._targets, outputs, self.thresholds_)
        return self._targets.predict_codes(outputs)

    @property
    def oof_prediction_(self) -> list[NDArray[Any]]:
        """Predictions for the training rows, none of which depends on its own label."""
        return self._get_out_of_fold("oof_prediction_").predictions(self._targets)

    @property
    def oof_scores_(self) -> NDArray[np.float64]:
        """Accuracy or R² of each task out of fold, of shape (n_tasks,)."""
        return self._get_out_of_fold("oof_scores_").scores(self._targets)

    @property
    def oof_score_(self) -> float:
        """The mean of ``oof_scores_`` over tasks."""
        return float(
            np.nanmean(self._get_out_of_fold("oof_score_").scores(self._targets))
        )

    def _get_out_of_fold(self, what: str) -> OutOfFoldPredictions:
        check_is_fitted(self)
        if self._oof is None:
            raise AttributeError(f"{what} needs {NEEDS_FOLDS}.")
        return self._oof

    def predict_interval(self, X: Any, coverage: float = 0.9) -> Any:
        r"""Predict intervals that hold the true values with a chosen probability.

        Cross-conformal prediction [1]_ for regression tasks, from the out-of-fold
        predictions: the prediction plus and minus the
        :math:`\lceil (n + 1) c \rceil`-th smallest error of the n out-of-fold
        predictions, for the coverage c. No out-of-fold prediction depends on the label
        of its row, as conformal prediction needs. Classification tasks have
        ``predict_set``.

        Parameters
        ----------
        X : array-like or sparse matrix of shape (n_samples, ...)
            Inputs, as for ``predict``.
        coverage : float, default=0.9
            Share of true values that intervals are to hold, in (0, 1). It is kept on
            average over rows like those of training.

        Returns
        -------
        ndarray of shape (n_samples, 2) or list of such arrays
            Lower and upper ends, one array per task, None for classification tasks. The
            array itself where y had one column.

        Raises
        ------
        ValueError
            If there is no regression task, or there are no out-of-fold predictions.

        References
        ----------
        .. [1] V. Vovk, "Cross-conformal predictors", Annals of Mathematics and
           Artificial Intelligence 2015.

        Examples
        --------
        >>> from sklearn.datasets import load_diabetes
        >>> from skmtl import MultiTaskRegressor
        >>> X, y = load_diabetes(return_X_y=True)
        >>> est = MultiTaskRegressor(n_estimators=4, random_state=0).fit(X, y)
        >>> interval = est.predict_interval(X, coverage=0.8)
        >>> bool((interval[:, 0] < est.predict(X)).all())
        True
        """
        return self._predict_regions(X, coverage, "predict_interval")

    def predict_set(self, X: Any, coverage: float = 0.9) -> Any:
        r"""Predict sets of classes that hold the true one with a chosen probability.

        Cross-conformal prediction [1]_ for classification tasks, from the out-of-fold
        predictions. The score of a label is one minus the probability of its class
        [2]_. For the coverage c, a class belongs to the set unless a share c of the
        training labels have lower scores than the class; labels of a fold are compared
        with the score under the network that holds the fold out. The most probable
        class always belongs to the set. Regression tasks have ``predict_interval``.

        Parameters
        ----------
        X : array-like or sparse matrix of shape (n_samples, ...)
            Inputs, as for ``predict``.
        coverage : float, default=0.9
            Share of true classes that sets are to hold, in (0, 1). It is kept on
            average over rows like those of training, not in every class.

        Returns
        -------
        ndarray of bool of shape (n_samples, n_classes) or list of such arrays
            Which classes each set holds, in the order of ``classes_``, one array per
            task, None for regression tasks. The array itself where y had one column.

        Raises
        ------
        ValueError
            If there is no classification task, or there are no out-of-fold
            predictions.

        Notes
        -----
        With :math:`\alpha = 1 - c` and n labels, class k belongs to the set of x if

        .. math::

            \sum_f |\{i \in \text{fold } f: s_i \geq s_f(x, k)\}| + 1 > \alpha (n + 1)

        for the scores :math:`s_i` of the labels of fold f and the score
        :math:`s_f(x, k)` of the class, both under the network that has not been trained
        on fold f. At least :math:`1 - 2 \alpha` of the true classes of exchangeable
        samples are held, up to a term in :math:`\sqrt{2 / n}`, and typically
        :math:`1 - \alpha`; more where networks disagree, as on labels that do not
        depend on X. With ``resampling="bootstrap"`` all scores are compared with the
        score under the average over networks.

        References
        ----------
        .. [1] V. Vovk, "Cross-conformal predictors", Annals of Mathematics and
           Artificial Intelligence 2015.
        .. [2] M. Sadinle, J. Lei and L. Wasserman, "Least Ambiguous Set-Valued
           Classifiers with Bounded Error Levels", Journal of the American Statistical
           Association 2019.

        Examples
        --------
        >>> from sklearn.datasets import load_iris
        >>> from skmtl import MultiTaskClassifier
        >>> X, y = load_iris(return_X_y=True)
        >>> est = MultiTaskClassifier(n_estimators=4, random_state=0).fit(X, y)
        >>> est.predict_set(X[:2], coverage=0.95)
        array([[ True, False, False],
               [ True, False, False]])
        """
        return self._predict_regions(X, coverage, "predict_set")

    def _predict_regions(self, X: Any, coverage: float, caller: str) -> Any:
        """Return the regions of regression tasks, or of classification tasks."""
        check_is_fitted(self)
        check_coverage(coverage)
        targets, oof = self._targets, self._oof
        numeric = caller == "predict_interval"
        wanted = [(classes is None) == numeric for classes in targets.classes]
        if not any(wanted):
            kind, other, instead = "regression", "classification", "predict_set"
            if not numeric:
                kind, other, instead = other, kind, "predict_interval"
            tasks = "the task is one" if targets.n_tasks == 1 else "all tasks are"
            raise ValueError(
                f"{caller} is for {kind} tasks, but {tasks} of {other}: use {instead}."
            )
        if oof is None:
            raise ValueError(f"{caller} needs {NEEDS_FOLDS}.")
        if numeric or oof.fold_outputs is None:
            conformal = CrossConformal.fit(targets, oof.outputs, oof.labels, oof.weight)
            regions_of_tasks = conformal.predict_regions(self._forward(X), coverage)
        else:
            regions_of_tasks = self._predict_fold_sets(X, coverage)
        regions = [
            r if yes else None for r, yes in zip(regions_of_tasks, wanted, strict=True)
        ]
        return regions[0] if targets.one_d else regions

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
        outputs = self._forward(X)
        return self._targets.predict(outputs, self._predict_codes(outputs))

    def predict_frame(self, X: Any) -> Any:
        """Predict the labels of all tasks as a DataFrame.

        Parameters
        ----------
        X : array-like or sparse matrix of shape (n_samples, n_features) or \
                (n_samples, channels, height, width)
            Inputs; the index of a DataFrame is kept.

        Returns
        -------
        DataFrame of shape (n_samples, n_tasks)
            A column per task, named and typed as the task is. It is of the kind that X
            is, such as polars or Arrow, and of pandas where X is no DataFrame.
        """
        outputs = self._forward(X)
        columns = self._targets.predict_columns(outputs, self._predict_codes(outputs))
        named = dict(zip(self.task_names_, columns, strict=True))
        frame = make_frame(named, X)
        if frame is not None:
            return frame
        index = X.index if hasattr(X, "iloc") else None
        return import_pandas("predict_frame").DataFrame(named, index=index)

    def task_estimator(self, task: object) -> TaskClassifier | TaskRegressor:
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
        number = self._resolve_task(task)
        view = (
            TaskRegressor if self._targets.classes[number] is None else TaskClassifier
        )
        estimator = self._make_single_task(number)
        return view(estimator, self.task_names_[number])._bound(self, number)

    def score(
        self, X: Any, y: ArrayLike, sample_weight: ArrayLike | None = None
    ) -> float:
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
        scores = self._score_tasks(X, y, sample_weight)
        if np.isnan(scores).all():
            raise ValueError(
                "y has too few labels to score: give one of a task of classes, or two "
                "of a task of numbers."
            )
        return float(np.nanmean(scores))

    def _score_tasks(
        self, X: Any, y: ArrayLike, sample_weight: ArrayLike | None = None
    ) -> NDArray[np.float64]:
        """Return each task's accuracy or R², NaN where y has too few labels."""
        outputs = self._forward(X)
        columns = read_labels(y, self.missing_label)
        check_not_transposed(columns, len(outputs))
        columns = self._align_tasks(columns, self._targets)
        columns, weight = apply_sample_weight(outputs, columns, sample_weight)
        codes = self._predict_codes(outputs)
        return task_scores(self._targets, outputs, codes, columns, weight)

    def _resolve_task(self, task: object) -> int:
        if task in self.task_names_:
            return int(self.task_names_.index(task))
        if isinstance(task, Integral) and -self.n_tasks_ <= int(task) < self.n_tasks_:
            return int(task) % self.n_tasks_
        raise ValueError(
            f"There is no task {task!r}. The tasks are {self.task_names_}: give one of "
            f"them, or a number below {self.n_tasks_}."
        )

    def _align_tasks(
        self, columns: LabelTable, targets: Targets, table: str = "y"
    ) -> LabelTable:
        """Return labels in the order of the tasks of fit."""
        if len(columns.columns) != targets.n_tasks:
            raise ValueError(
                f"{table} has {len(columns.columns)} tasks, but {type(self).__name__} "
                f"was fitted on {targets.n_tasks}: {targets.names}."
            )
        return columns.match_names(targets.names, table)


def _has_classes(estimator: BaseEstimator) -> bool:
    """Return whether a task has classes, as far as is known."""
    task_types = getattr(estimator, "task_types_", ["classification"])
    return "classification" in task_types


class ProbabilityPrediction(MultiTaskPrediction):
    """Mixin of estimators whose tasks may have classes."""

    @available_if(_has_classes)
    def predict_proba(self, X: Any) -> Any:
        """Predict the probability of each class.

        Parameters
        ----------
        X : array-like or sparse matrix of shape (n_samples, n_features) or \
                (n_samples, channels, height, width)
            Inputs.

        Returns
        -------
        ndarray of shape (n_samples, n_classes) or list of such arrays
            One array of float64 per task, None for regression tasks; the array itself
            where y had one column. Columns follow ``classes_``.
        """
        outputs = self._forward(X)
        proba = self._targets.predict_proba(outputs)
        return proba[0] if self._targets.one_d else proba

    @available_if(_has_classes)
    def predict_log_proba(self, X: Any) -> Any:
        """Predict the logarithm of the probability of each class.

        Parameters
        ----------
        X : array-like or sparse matrix of shape (n_samples, n_features) or \
                (n_samples, channels, height, width)
            Inputs.

        Returns
        -------
        ndarray of shape (n_samples, n_classes) or list of such arrays
            As `predict_proba`.
        """
        proba = self.predict_proba(X)
        with np.errstate(divide="ignore"):
            if self._targets.one_d:
                return np.log(proba)
            return [None if p is None else np.log(p) for p in proba]
