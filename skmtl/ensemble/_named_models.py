"""The models that a name stands for: one for classification and one for regression."""

from collections.abc import Sequence
from importlib import import_module
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray
from sklearn.base import BaseEstimator, TransformerMixin
from sklearn.compose import ColumnTransformer
from sklearn.ensemble import (
    ExtraTreesClassifier,
    ExtraTreesRegressor,
    HistGradientBoostingClassifier,
    HistGradientBoostingRegressor,
    RandomForestClassifier,
    RandomForestRegressor,
)
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression, RidgeCV
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler

from skmtl._data.labels import TaskType

#: The name of skmtl's own estimator with its defaults.
NETWORK = "skmtl"
#: Trees of a forest.
N_TREES = 200
#: Classifier and regressor of each name; names of classes in packages of that name.
MODELS: dict[str, tuple[Any, Any]] = {
    "catboost": ("CatBoostClassifier", "CatBoostRegressor"),
    "extra_trees": (ExtraTreesClassifier, ExtraTreesRegressor),
    "hist_gradient_boosting": (
        HistGradientBoostingClassifier,
        HistGradientBoostingRegressor,
    ),
    "lightgbm": ("LGBMClassifier", "LGBMRegressor"),
    "linear": (LogisticRegression, RidgeCV),
    "random_forest": (RandomForestClassifier, RandomForestRegressor),
    "xgboost": ("XGBClassifier", "XGBRegressor"),
}
#: Settings that keep packages of boosted trees to one thread, and quiet.
QUIET: dict[str, dict[str, object]] = {
    "catboost": {"verbose": False, "thread_count": 1, "allow_writing_files": False},
    "lightgbm": {"n_jobs": 1, "verbosity": -1},
    "xgboost": {"n_jobs": 1},
}


class EmptyColumnFiller(TransformerMixin, BaseEstimator):  # type: ignore[misc]
    """Fill the columns that have no value in training, which binning cannot take."""

    def fit(self, X: NDArray[np.float64], y: object = None) -> Self:
        """Find the columns without a value."""
        self.empty_ = np.isnan(X).all(axis=0)
        return self

    def transform(self, X: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return the inputs with zeros in these columns."""
        return np.where(self.empty_, 0.0, X) if self.empty_.any() else X


def make_named_model(
    name: str,
    task_type: TaskType,
    categorical: Sequence[int],
    seed: int,
    *,
    sparse: bool,
) -> BaseEstimator:
    """Return an unfitted model of one kind of tasks, for inputs encoded as numbers."""
    # `categorical` are the columns that hold codes of categories, NaN where missing.
    cls = _get_classes(name)[task_type == "regression"]
    if name == "hist_gradient_boosting":
        model = cls(categorical_features=list(categorical), random_state=seed)
        return make_pipeline(EmptyColumnFiller(), model)
    if name == "linear":
        imputer = SimpleImputer(strategy="median", keep_empty_features=True)
        numbers = make_pipeline(imputer, StandardScaler(with_mean=not sparse))
        classification = task_type == "classification"
        settings: dict[str, object] = (
            {"C": 0.1, "max_iter": 1000}
            if classification
            else {"alphas": np.logspace(-3, 3, 13), "alpha_per_target": not sparse}
        )
        return _make_pipeline(_encode_one_hot(categorical, numbers), cls(**settings))
    settings = QUIET.get(name, {"n_estimators": N_TREES})
    steps = _encode_one_hot(categorical, "passthrough") if categorical else []
    return _make_pipeline(steps, cls(**settings, random_state=seed))


def _make_pipeline(steps: list[object], model: BaseEstimator) -> Pipeline:
    """Return a pipeline of arrays, whatever scikit-learn's ``transform_output`` is."""
    return make_pipeline(*steps, model).set_output(transform="default")


def _encode_one_hot(categorical: Sequence[int], numbers: object) -> list[object]:
    """Return the step that turns codes into indicators, and what numbers go through."""
    encoder = OneHotEncoder(
        handle_unknown="infrequent_if_exist", min_frequency=2, sparse_output=False
    )
    if not categorical:
        return [numbers]
    transformers = [("categories", encoder, list(categorical))]
    return [ColumnTransformer(transformers, remainder=numbers)]


def _get_classes(name: str) -> tuple[type, type]:
    """Return the classifier and the regressor that a name stands for."""
    classes = MODELS[name]
    if not isinstance(classes[0], str):
        return classes
    try:
        module = import_module(name)
    except ImportError as error:
        raise ImportError(
            f"The model {name!r} of the 'estimators' parameter needs the package "
            f"{name}: pip install {name}."
        ) from error
    return getattr(module, classes[0]), getattr(module, classes[1])
