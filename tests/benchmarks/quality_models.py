"""Models of the benchmark of quality, as scikit-learn's estimators.

A model is a function from a `quality_data.DataSet` to an estimator with ``fit(X, Y)``,
where Y has NaN for missing labels, ``predict(X)`` and, where there are classes,
``predict_proba(X)`` and ``classes_``, both with one entry per task. To add one, add it
to ``MODELS``.
"""

import importlib.util
import inspect
from collections.abc import Callable
from functools import partial
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray
from quality_data import DataSet
from sklearn.base import BaseEstimator, clone
from sklearn.compose import TransformedTargetRegressor, make_column_transformer
from sklearn.dummy import DummyClassifier
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
from sklearn.neural_network import MLPClassifier, MLPRegressor
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import (
    MaxAbsScaler,
    OneHotEncoder,
    OrdinalEncoder,
    StandardScaler,
)

import skmtl
import skmtl.encoder
import skmtl.ensemble
import skmtl.relation
import skmtl.sharing
import skmtl.weighting

Factory = Callable[[DataSet], Any]


class PerTask(BaseEstimator):
    """One estimator per task, on the rows that have its label.

    Parameters
    ----------
    classifier, regressor : estimator
        Copied for each task.
    kinds : list of {"classification", "regression"}
        Kind of each task.
    """

    def __init__(self, classifier: Any, regressor: Any, kinds: list[str]) -> None:
        self.classifier = classifier
        self.regressor = regressor
        self.kinds = kinds

    def fit(self, X: Any, Y: NDArray[np.float64]) -> Self:
        self.classes_, self.estimators_ = [], []
        for y, kind in zip(Y.T, self.kinds, strict=True):
            seen = ~np.isnan(y)
            classes, target = None, y[seen]
            estimator = clone(self.regressor)
            if kind == "classification":  # some want the codes 0 to k - 1
                classes, target = np.unique(target, return_inverse=True)
                constant = DummyClassifier(strategy="prior")
                estimator = clone(self.classifier) if len(classes) > 1 else constant
            self.classes_.append(classes)
            self.estimators_.append(estimator.fit(X[seen], target))
        return self

    def predict(self, X: Any) -> NDArray[np.float64]:
        found = [estimator.predict(X) for estimator in self.estimators_]
        pairs = zip(found, self.classes_, strict=True)
        return np.column_stack(
            [y if c is None else c[np.asarray(y, dtype=int)] for y, c in pairs]
        )

    def predict_proba(self, X: Any) -> list[NDArray[np.float64] | None]:
        pairs = zip(self.estimators_, self.classes_, strict=True)
        return [None if c is None else e.predict_proba(X) for e, c in pairs]


class Joint(BaseEstimator):
    """One estimator that takes all tasks, of one kind and fully labelled.

    Parameters
    ----------
    classifier, regressor : estimator
        The one of the tasks' kind is copied.
    kinds : list of {"classification", "regression"}
        Kind of each task.
    """

    def __init__(self, classifier: Any, regressor: Any, kinds: list[str]) -> None:
        self.classifier = classifier
        self.regressor = regressor
        self.kinds = kinds

    def fit(self, X: Any, Y: NDArray[np.float64]) -> Self:
        if len(set(self.kinds)) > 1 or np.isnan(Y).any():
            raise ValueError("takes tasks of one kind with all labels only")
        classes = self.kinds[0] == "classification"
        self.classes_ = [np.unique(y) if classes else None for y in Y.T]
        estimator = clone(self.classifier if classes else self.regressor)
        self.estimator_ = estimator.fit(X, Y.astype(int) if classes else Y)
        return self

    def predict(self, X: Any) -> NDArray[np.float64]:
        return np.asarray(self.estimator_.predict(X))

    def predict_proba(self, X: Any) -> list[NDArray[np.float64]]:
        found = self.estimator_.predict_proba(X)
        if isinstance(found, list):
            return found
        return [np.column_stack([1 - p, p]) for p in found.T]  # binary, (n, n_tasks)


class MLP(MLPClassifier):
    """`MLPClassifier` that stops early where rows and classes allow it."""

    def fit(self, X: Any, y: Any) -> Self:
        rarest = np.unique(y, return_counts=True)[1].min()
        self.early_stopping = bool(len(y) >= MIN_STOPPING and rarest >= 10)
        return super().fit(X, y)


class MLPReg(MLPRegressor):
    """`MLPRegressor` that stops early where rows allow it."""

    def fit(self, X: Any, y: Any) -> Self:
        self.early_stopping = len(y) >= MIN_STOPPING
        return super().fit(X, y)


#: Labels from which a tenth is held out to stop multilayer perceptrons.
MIN_STOPPING = 400


def dense(data: DataSet) -> Any:
    """Return what makes numbers without NaN of a table, and scales all but bits."""
    imputer = SimpleImputer(
        strategy="median", add_indicator=True, keep_empty_features=True
    )
    # Standardised bits are outliers: 1,024 of them cost LR six points of AUC on tox21.
    scaler = MaxAbsScaler() if data.sparse else StandardScaler()
    numbers = make_pipeline(imputer, scaler)
    one_hot = OneHotEncoder(
        handle_unknown="infrequent_if_exist", min_frequency=10, sparse_output=False
    )
    return make_column_transformer((one_hot, data.categorical), remainder=numbers)


def coded(data: DataSet, missing: float) -> Any:
    """Return what makes codes of categories and leaves numbers as they are."""
    codes = OrdinalEncoder(
        handle_unknown="use_encoded_value",
        unknown_value=missing,
        encoded_missing_value=missing,
        max_categories=250,
    )
    return make_column_transformer((codes, data.categorical), remainder="passthrough")


def linear(data: DataSet) -> Pipeline:
    logistic = LogisticRegression(max_iter=1000)
    ridge = RidgeCV(np.logspace(-3, 3, 13))
    return make_pipeline(dense(data), PerTask(logistic, ridge, data.kinds))


def forest(data: DataSet, *, extra: bool = False) -> Pipeline:
    """Return forests of all tasks together where scikit-learn has them."""
    wrapper = Joint if data.complete and len(data.types) > 1 else PerTask
    trees = RandomForestClassifier(200), RandomForestRegressor(200)
    if extra:
        trees = ExtraTreesClassifier(200), ExtraTreesRegressor(200)
    return make_pipeline(coded(data, -1), wrapper(*trees, data.kinds))


def boosting(data: DataSet) -> Pipeline:
    first = {"categorical_features": list(range(len(data.categorical)))}
    trees = (
        HistGradientBoostingClassifier(**first),
        HistGradientBoostingRegressor(**first),
    )
    return make_pipeline(coded(data, np.nan), PerTask(*trees, data.kinds))


def perceptron(data: DataSet) -> Pipeline:
    classifier = MLP(hidden_layer_sizes=(128,), max_iter=500)
    regressor = TransformedTargetRegressor(
        MLPReg(hidden_layer_sizes=(128,), max_iter=500), transformer=StandardScaler()
    )
    both = PerTask(classifier, regressor, data.kinds)
    return make_pipeline(dense(data), both)


def xgboost(data: DataSet, joint: bool) -> Pipeline:
    from xgboost import XGBClassifier, XGBRegressor

    settings = {"multi_strategy": "multi_output_tree"} if joint else {}
    trees = XGBClassifier(n_jobs=1, **settings), XGBRegressor(n_jobs=1, **settings)
    wrapper = Joint if joint else PerTask
    return make_pipeline(coded(data, -1), wrapper(*trees, data.kinds))


def lightgbm(data: DataSet) -> Pipeline:
    from lightgbm import LGBMClassifier, LGBMRegressor

    settings = {"n_jobs": 1, "verbosity": -1}
    trees = LGBMClassifier(**settings), LGBMRegressor(**settings)
    return make_pipeline(coded(data, -1), PerTask(*trees, data.kinds))


def catboost(data: DataSet) -> Pipeline:
    from catboost import CatBoostClassifier, CatBoostRegressor

    shared = {"thread_count": 1, "verbose": False, "allow_writing_files": False}
    trees = (
        CatBoostClassifier(loss_function="MultiLogloss", **shared),
        CatBoostRegressor(loss_function="MultiRMSE", **shared),
    )
    return make_pipeline(coded(data, -1), Joint(*trees, data.kinds))


def tabm(data: DataSet) -> Pipeline:
    from pytabkit import TabM_D_Classifier, TabM_D_Regressor

    settings = {"device": "cpu", "n_threads": 1}
    networks = TabM_D_Classifier(**settings), TabM_D_Regressor(**settings)
    return make_pipeline(dense(data), PerTask(*networks, data.kinds))


def realmlp(data: DataSet) -> Pipeline:
    from pytabkit import RealMLP_TD_Classifier, RealMLP_TD_Regressor

    settings = {"device": "cpu", "n_threads": 1}
    networks = RealMLP_TD_Classifier(**settings), RealMLP_TD_Regressor(**settings)
    return make_pipeline(dense(data), PerTask(*networks, data.kinds))


def ours(data: DataSet, **settings: Any) -> Any:
    """Return the estimator of skmtl for the kinds of tasks."""
    if "regression" not in data.kinds:
        return skmtl.MultiTaskClassifier(**settings)
    if "classification" not in data.kinds:
        return skmtl.MultiTaskRegressor(**settings)
    return skmtl.MultiTaskEstimator(task_types=data.kinds, **settings)


def stacking(data: DataSet, **settings: Any) -> Any:
    """Return the stacking estimator of skmtl for the kinds of tasks."""
    if "regression" not in data.kinds:
        return skmtl.ensemble.MultiTaskStackingClassifier(**settings)
    if "classification" not in data.kinds:
        return skmtl.ensemble.MultiTaskStackingRegressor(**settings)
    return skmtl.ensemble.MultiTaskStackingEstimator(task_types=data.kinds, **settings)


#: Packages of models that are compared where they are installed.
OPTIONAL: dict[str, dict[str, Factory]] = {
    "xgboost": {
        "XGBoost": partial(xgboost, joint=False),
        "XGBoost-joint": partial(xgboost, joint=True),
    },
    "catboost": {"CatBoost-joint": catboost},
    "lightgbm": {"LightGBM": lightgbm},
    "pytabkit": {"TabM": tabm, "RealMLP": realmlp},
}

MODELS: dict[str, Factory] = {
    "LR": linear,
    "RF": forest,
    "ET": partial(forest, extra=True),
    "HGB": boosting,
    "MLP": perceptron,
    "skmtl": ours,
    "skmtl-stack": stacking,
    "skmtl-1": partial(ours, n_estimators=1),
    "skmtl-separate": partial(ours, sharing="independent"),
}
if "n_estimators" not in inspect.signature(skmtl.MultiTaskClassifier).parameters:
    del MODELS["skmtl-1"]
MISSING = [p for p in OPTIONAL if importlib.util.find_spec(p) is None]
for package in set(OPTIONAL) - set(MISSING):
    MODELS |= OPTIONAL[package]


def evaluated(expression: str, data: DataSet) -> Any:
    """Return what an expression makes with skmtl's names; Estimator suits the set."""
    modules = (
        skmtl,
        skmtl.ensemble,
        skmtl.encoder,
        skmtl.sharing,
        skmtl.weighting,
        skmtl.relation,
    )
    public = {n: v for m in modules for n, v in vars(m).items() if n[0] != "_"}
    # Who runs the benchmark writes the expression.
    return eval(expression, public | {"Estimator": partial(ours, data)})


def build(name: str, expression: str | None, data: DataSet, seed: int) -> Any:
    """Return an unfitted estimator with a seed wherever it takes one."""
    if expression is None:
        estimator = MODELS[name](data)
    else:
        estimator = evaluated(expression, data)
    seeds = [k for k in estimator.get_params() if k.split("__")[-1] == "random_state"]
    return estimator.set_params(**dict.fromkeys(seeds, seed))
