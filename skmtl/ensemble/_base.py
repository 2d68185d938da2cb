"""fit and predict of the stacking estimators: cross-fit, combine, keep."""

import warnings
from dataclasses import replace
from numbers import Integral, Real
from typing import Any, ClassVar, Self

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from scipy.sparse import issparse
from sklearn.base import (
    clone,
    is_classifier,
    is_regressor,
)
from sklearn.utils import check_random_state, get_tags
from sklearn.utils.parallel import Parallel, delayed
from sklearn.utils.validation import check_is_fitted
from torch import Tensor

from skmtl._core.dataframes import get_column_names, read_frame
from skmtl._core.options import Validated, fit_context, suggest
from skmtl._core.validation import Interval, StrOptions, import_pandas
from skmtl._data.categories import CategoryEncoder
from skmtl._data.inputs import check_form, validate_inputs
from skmtl._data.labels import (
    LabelTable,
    TaskType,
    read_labels,
)
from skmtl._data.output_kinds.base import ClassificationBlock
from skmtl._data.targets import Targets
from skmtl._data.training_data import (
    apply_sample_weight,
    check_not_transposed,
    encode_labels,
)
from skmtl._estimators.base import MultiTaskBase
from skmtl._estimators.estimator import MultiTaskEstimator
from skmtl._estimators.fitting.out_of_fold import OutOfFoldPredictions
from skmtl._estimators.prediction import MultiTaskPrediction
from skmtl._estimators.thresholds import tune_thresholds
from skmtl.encoder import MLP
from skmtl.ensemble._combination import LinearStacker, WeightedAverage
from skmtl.ensemble._named_models import MODELS, NETWORK, make_named_model
from skmtl.ensemble._task_models import (
    FittedModel,
    Predictions,
    TaskModel,
    TrainingTable,
    find_last_step,
    fit_and_predict,
)
from skmtl.metrics._evaluation import resolve_metrics
from skmtl.metrics._one_task import check_kind
from skmtl.model_selection._check_cv import check_multitask_cv, is_number_of_folds

#: Models that are stacked by default; the last is left out where X is sparse.
DEFAULT = (NETWORK, "extra_trees", "hist_gradient_boosting")
#: Smallest probability whose logarithm is taken.
SMALLEST = 1e-15


class MultiTaskStacking(MultiTaskPrediction, Validated):
    """What the stacking estimators have in common."""

    estimators: Any
    final: str
    metric: Any
    shrinkage: float
    cv: Any
    threshold: str | None
    n_jobs: int | None
    random_state: Any
    verbose: int

    _categories: CategoryEncoder | None
    _network: ClassVar[type[MultiTaskBase]]
    _parameter_constraints: ClassVar[dict[str, Any]] = {
        "estimators": [list, tuple, None],
        "final": [StrOptions({"average", "linear"})],
        "metric": [str, callable, dict, None],
        "shrinkage": [Interval(Real, 0, None, closed="both")],
        "cv": ["cv_object"],
        "missing_label": "no_validation",
        "n_jobs": [Integral, None],
        "random_state": ["random_state"],
        "verbose": ["verbose"],
    }

    def get_params(self, deep: bool = True) -> dict[str, Any]:
        """Get the parameters of this estimator, and of the models by their names.

        Parameters
        ----------
        deep : bool, default=True
            Whether to return the parameters of the models too.

        Returns
        -------
        dict
            Values by name.
        """
        params: dict[str, Any] = super().get_params(deep=False)  # type: ignore[misc]
        for name, model in self._get_pairs() if deep else ():
            nested = model.get_params() if hasattr(model, "get_params") else {}
            params |= {name: model} | {f"{name}__{k}": v for k, v in nested.items()}
        return params

    def set_params(self, **params: Any) -> Self:
        """Set the parameters of this estimator, and models by their names.

        Parameters
        ----------
        **params : dict
            Values by name; ``name__parameter`` for the parameter of a model.

        Returns
        -------
        self : object
            The estimator.
        """
        self.estimators = params.pop("estimators", self.estimators)
        models = {
            name: params.pop(name) for name, _ in self._get_pairs() if name in params
        }
        if models:
            self.estimators = [
                entry if isinstance(entry, str) else (entry[0], models.get(*entry))
                for entry in self.estimators
            ]
        return super().set_params(**params)  # type: ignore[misc, no-any-return]

    def _get_pairs(self) -> list[tuple[str, Any]]:
        """Return the models that are given as estimators, with their names."""
        entries = self.estimators if isinstance(self.estimators, list | tuple) else []
        return [e for e in entries if isinstance(e, tuple) and len(e) == 2]

    @fit_context(prefer_skip_nested_validation=False)
    def fit(
        self,
        X: Any,
        y: ArrayLike,
        sample_weight: ArrayLike | None = None,
        *,
        groups: ArrayLike | None = None,
    ) -> Self:
        """Fit all models, and the weights that combine them.

        Parameters
        ----------
        X : array-like, sparse matrix or DataFrame of shape (n_samples, n_features)
            Inputs. Columns of a DataFrame may hold categories, which models given by
            name take; NaN is a missing input.
        y : array-like of shape (n_samples,) or (n_samples, n_tasks)
            Labels, one column per task, missing ones as in ``missing_label``.
        sample_weight : array-like of shape (n_samples,) or (n_samples, n_tasks), \
                default=None
            Weights of rows or of single labels, for the models that take weights and
            for the weights that combine them.
        groups : array-like of shape (n_samples,), default=None
            Group of each row; rows of a group are in one fold.

        Returns
        -------
        self : object
            The estimator.

        Raises
        ------
        ValueError
            If a parameter or the data cannot be used; nothing changes then.
        """
        before = dict(vars(self))
        try:
            self._fit(X, y, sample_weight, groups)
        except BaseException:
            self.__dict__.clear()
            self.__dict__.update(before)
            raise
        return self

    def _infer_task_types(self, columns: LabelTable) -> list[TaskType]:
        raise NotImplementedError

    def _set_kinds(self, targets: Targets) -> None:
        """Set the attributes that tell of classes and kinds of tasks."""

    def _fit(
        self,
        X: Any,
        y: ArrayLike,
        sample_weight: ArrayLike | None,
        groups: ArrayLike | None,
    ) -> None:
        table = self._read(X, y, sample_weight)
        random_state = check_random_state(self.random_state)
        models = self._make_models(table, random_state)
        splits = self._split(table, groups, random_state)
        fitted, predictions = self._fit_models(models, table, splits, groups)
        every_row = np.ones(table.columns.n_samples, dtype=bool)
        combination = self._make_combination().fit(predictions, table, every_row)
        self._set_out_of_fold(predictions, table, splits)
        self._combination, self._models, self._targets = (
            combination,
            fitted,
            table.targets,
        )
        self.n_tasks_, self.task_names_ = table.targets.n_tasks, table.targets.names
        self.named_estimators_ = {m.model.name: m.get_estimators() for m in fitted}
        self._set_kinds(table.targets)

    def _read(
        self, X: Any, y: ArrayLike, sample_weight: ArrayLike | None
    ) -> TrainingTable:
        """Validate and encode the training data."""
        check_form(X)
        if y is None:
            raise ValueError(
                f"This {type(self).__name__} estimator requires y to be passed, but "
                "the target y is None."
            )
        if self.final != "average" and self.metric is not None:
            raise ValueError(
                f"The 'metric' parameter chooses the weights of final='average'. Got "
                f"final={self.final!r}: leave metric=None."
            )
        X = read_frame(X, "X")
        encoded = validate_inputs(self, X, MLP(), reset=True)
        columns = read_labels(y, self.missing_label)
        check_not_transposed(columns, encoded.shape[0])
        columns, weight = apply_sample_weight(encoded, columns, sample_weight)
        targets = Targets(columns, self._infer_task_types(columns), weight)
        if self.metric is not None:
            self._check_metric(columns, targets)
        data = encode_labels(encoded, columns, weight, targets)
        X = encoded if get_column_names(X) is None else X
        y = read_frame(y, "y")
        return TrainingTable(X, y, sample_weight, columns, data, targets)

    def _check_metric(self, columns: LabelTable, targets: Targets) -> None:
        """Raise an error for a metric of another kind of tasks before training."""
        metrics = resolve_metrics(self.metric, columns, targets.task_types)
        for t, (metric, kind) in enumerate(
            zip(metrics, targets.task_types, strict=True)
        ):
            classes = targets.classes[t]
            labels = np.zeros(1) if classes is None else classes
            check_kind(metric, kind, labels, targets.names[t])

    def _make_models(
        self, table: TrainingTable, random_state: np.random.RandomState
    ) -> list[TaskModel]:
        """Return the models that there are for the tasks' kinds."""
        entries = self.estimators
        if entries is None:
            entries = DEFAULT[:2] if issparse(table.data.X) else DEFAULT
        models = [
            self._make_named(entry, table, int(random_state.randint(2**31 - 1)))
            if isinstance(entry, str)
            else _check_entry(entry, table.targets)
            for entry in entries
        ]
        names = [model.name for model in models]
        if len(set(names)) < len(names):
            raise ValueError(
                "The 'estimators' parameter must have a different name for each model. "
                f"Got {names}."
            )
        for t, name in enumerate(table.targets.names):
            if not any(t in model.tasks for model in models):
                raise ValueError(
                    f"The 'estimators' parameter has no model for task {name!r}, one "
                    f"of {table.targets.task_types[t]}: add one, such as 'extra_trees'."
                )
        return models

    def _make_named(self, name: str, table: TrainingTable, seed: int) -> TaskModel:
        """Return the model that a name stands for."""
        names = [NETWORK, *MODELS]
        if name not in names:
            raise ValueError(
                f"The 'estimators' parameter names the unknown model {name!r}."
                f"{suggest(name, names)} The names are {sorted(names)}: give others as "
                "(name, estimator)."
            )
        targets = table.targets
        if name == NETWORK:
            network = self._network(missing_label=self.missing_label, random_state=seed)
            if isinstance(network, MultiTaskEstimator):
                network.set_params(task_types=targets.task_types)
            return _check_entry((name, network), targets)
        categories = self._categories
        categorical = [] if categories is None else categories.columns
        estimators = {
            task_type: make_named_model(
                name, task_type, categorical, seed, sparse=issparse(table.data.X)
            )
            for task_type in sorted(set(targets.task_types))
        }
        return TaskModel(name, estimators, list(range(targets.n_tasks)), encoded=True)

    def _split(
        self,
        table: TrainingTable,
        groups: ArrayLike | None,
        random_state: np.random.RandomState,
    ) -> list[tuple[NDArray[np.int64], NDArray[np.int64]]]:
        """Return the rows that are trained and predicted on in each fold."""
        cv = check_multitask_cv(self.cv, self, random_state, grouped=groups is not None)
        with warnings.catch_warnings():
            if is_number_of_folds(self.cv):  # models get by without a class
                warnings.simplefilter("ignore", UserWarning)
            splits = list(cv.split(table.X, table.y, groups))
        tests = np.concatenate([test for _, test in splits])
        if not np.array_equal(np.sort(tests), np.arange(table.columns.n_samples)):
            raise ValueError(
                "The 'cv' parameter must be a splitter in which each row is in one "
                f"test set. Got {self.cv!r}: use one such as KFold, or a number."
            )
        return splits

    def _fit_models(
        self,
        models: list[TaskModel],
        table: TrainingTable,
        splits: list[tuple[NDArray[np.int64], NDArray[np.int64]]],
        groups: ArrayLike | None,
    ) -> tuple[list[FittedModel], list[Predictions]]:
        """Return fitted models and predictions by models that have not seen a row."""
        parallel = Parallel(n_jobs=self.n_jobs, verbose=self.verbose)
        rows = np.arange(table.columns.n_samples)
        fitted = parallel(delayed(model.fit)(table, rows) for model in models)
        own = [model.get_out_of_fold() if groups is None else None for model in fitted]
        crossed = [k for k, predictions in enumerate(own) if predictions is None]
        parts = parallel(
            delayed(fit_and_predict)(models[k], table, train, test)
            for k in crossed
            for train, test in splits
        )
        order = np.argsort(np.concatenate([test for _, test in splits]))
        all_predictions = []
        for k, predictions in enumerate(own):
            if predictions is None:
                start = crossed.index(k) * len(splits)
                tasks = zip(*parts[start : start + len(splits)], strict=True)
                predictions = [
                    None if task[0] is None else np.concatenate(task)[order]
                    for task in tasks
                ]
            all_predictions.append(predictions)
        return fitted, all_predictions

    def _make_combination(self) -> WeightedAverage | LinearStacker:
        if self.final == "linear":
            return LinearStacker()
        return WeightedAverage(self.shrinkage, self.metric)

    def _set_out_of_fold(
        self,
        predictions: list[Predictions],
        table: TrainingTable,
        splits: list[tuple[NDArray[np.int64], NDArray[np.int64]]],
    ) -> None:
        """Combine predictions for each fold as the labels of other folds say."""
        targets, data = table.targets, table.data
        fold = np.empty(table.columns.n_samples, dtype=np.int64)
        for i, (_, test) in enumerate(splits):
            fold[test] = i
        outputs = torch.empty(
            len(fold),
            sum(b.stop - b.start for b in targets.blocks),
            dtype=torch.float64,
        )
        for i, (_, test) in enumerate(splits):
            combination = self._make_combination().fit(predictions, table, fold != i)
            parts = [[p if p is None else p[test] for p in m] for m in predictions]
            outputs[torch.from_numpy(test)] = pack(combination.combine(parts), targets)
        self._oof = OutOfFoldPredictions(outputs, data.labels, data.given_weight)
        if self.threshold is None:
            return
        labels, weight = data.labels, data.given_weight
        thresholds = np.empty((len(splits), targets.n_tasks))
        for i in range(len(splits)):
            others = np.flatnonzero(fold != i)
            thresholds[i] = tune_thresholds(
                targets,
                outputs[torch.from_numpy(others)],
                [task[others] for task in labels],
                None if weight is None else weight[others],
                self.threshold,
            )
        self._oof = replace(self._oof, thresholds=thresholds, group=fold)
        self.thresholds_ = tune_thresholds(
            targets, outputs, labels, weight, self.threshold
        )

    def _forward(self, X: Any) -> Tensor:
        """Return the packed outputs of all tasks, of shape (n_samples, n_outputs)."""
        check_is_fitted(self)
        check_form(X)
        X = read_frame(X, "X")
        encoded = validate_inputs(self, X, MLP(), reset=False)
        X = encoded if get_column_names(X) is None else X
        predictions = [
            model.predict(encoded if model.model.encoded else X)
            for model in self._models
        ]
        return pack(self._combination.combine(predictions), self._targets)

    @property
    def weights_(self) -> Any:
        """Weight of each model in each task, of shape (n_tasks, n_models)."""
        check_is_fitted(self)
        if not isinstance(self._combination, WeightedAverage):
            raise AttributeError(
                f"weights_ needs final='average'. Got final={self.final!r}."
            )
        return import_pandas("weights_").DataFrame(
            self._combination.weights.T, self.task_names_, list(self.named_estimators_)
        )

    def _make_single_task(self, number: int) -> Any:
        """Return an unfitted copy, whose parameters suit one task too."""
        return clone(self)

    def __sklearn_is_fitted__(self) -> bool:
        return hasattr(self, "_targets")

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()  # type: ignore[misc]
        given = [get_tags(model).input_tags for _, model in self._get_pairs()]
        tags.input_tags.allow_nan = all(tag.allow_nan for tag in given)
        tags.input_tags.sparse = all(tag.sparse for tag in given)
        tags.target_tags.multi_output = True
        tags.target_tags.required = True
        return tags


def _check_entry(entry: object, targets: Targets) -> TaskModel:
    """Return the model of a pair of a name and an estimator."""
    if not (isinstance(entry, tuple) and len(entry) == 2 and isinstance(entry[0], str)):
        raise ValueError(
            "The 'estimators' parameter must be a list of names of models and of "
            f"(name, estimator) tuples. Got {entry!r} in it."
        )
    name, estimator = entry
    last = find_last_step(estimator)[1]
    if isinstance(last, MultiTaskEstimator):
        kinds = set(targets.task_types)
    elif is_classifier(estimator):
        kinds = {"classification"}
        if not hasattr(estimator, "predict_proba"):
            raise ValueError(
                f"The model {name!r} of the 'estimators' parameter must have "
                f"predict_proba. Got {estimator!r}: use CalibratedClassifierCV."
            )
    elif is_regressor(estimator):
        kinds = {"regression"}
    else:
        raise ValueError(
            f"The model {name!r} of the 'estimators' parameter must be a classifier or "
            f"a regressor. Got {estimator!r}."
        )
    tasks = [t for t, kind in enumerate(targets.task_types) if kind in kinds]
    if not tasks:
        raise ValueError(
            f"The model {name!r} of the 'estimators' parameter is for tasks of "
            f"{' and '.join(kinds)}, of which y has none."
        )
    return TaskModel(name, dict.fromkeys(sorted(kinds), estimator), tasks)


def count_outputs(targets: Targets) -> int:
    """Return the number of packed outputs."""
    return targets.blocks[-1].stop if targets.blocks else 0


def pack(predictions: Predictions, targets: Targets) -> Tensor:
    """Return predictions as packed outputs: log-odds, log-probabilities and values."""
    columns: list[NDArray[Any]] = []
    for block in targets.blocks:
        for t in block.tasks:
            p = np.asarray(predictions[t])
            if isinstance(block, ClassificationBlock):
                p = block.convert_log_proba(np.log(np.maximum(p, SMALLEST)))
            columns.append(p.reshape(len(p), -1))
    n_samples = len(np.asarray(predictions[0]))
    packed = np.hstack([np.empty((n_samples, 0)), *columns])
    return torch.from_numpy(packed)
