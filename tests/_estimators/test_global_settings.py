"""scikit-learn's global settings change no result."""

import numpy as np
import pandas as pd
import polars as pl
import pytest
import torch
from numpy.testing import assert_array_equal
from sklearn import config_context, get_config
from sklearn.compose import make_column_transformer
from sklearn.model_selection import KFold, cross_validate
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler

import skmtl
from skmtl import MultiTaskClassifier, MultiTaskEstimator, MultiTaskRegressor
from skmtl.encoder import MLP
from skmtl.metrics import make_multitask_scorers, multitask_report
from skmtl.model_selection import cross_val_predict

RNG = np.random.default_rng(0)
N = 60
PANDAS = pd.DataFrame(
    {
        "number": np.where(np.arange(N) % 9, RNG.normal(size=N), np.nan),
        "color": RNG.choice(["r", "g", "b"], N),
        "level": RNG.integers(0, 3, N),
    }
)
FRAMES = {"pandas": PANDAS, "polars": pl.from_pandas(PANDAS)}
Y = pd.DataFrame(
    {
        "red": np.where(PANDAS["color"] == "r", "yes", "no"),
        "value": PANDAS["level"] * 1.5 + RNG.normal(size=N),
    }
)
CLASSES = np.column_stack([PANDAS["level"], PANDAS["color"] == "r"])
WEIGHT = RNG.uniform(0.5, 2, size=(N, 2))
SETTINGS = {
    "encoder": MLP((4,)),
    "n_estimators": 2,
    "max_iter": 2,
    "random_state": 0,
}
OTHERS = {
    "skip_parameter_validation": True,
    "assume_finite": True,
    "display": "text",
    "print_changed_only": False,
    "working_memory": 1,
    "sparse_interface": "sparray",
}
GLOBAL = {
    "pandas": {"transform_output": "pandas"},
    "polars": {"transform_output": "polars"},
    "routing": {"enable_metadata_routing": True},
    "array API": {"array_api_dispatch": True},
    "others": {k: v for k, v in OTHERS.items() if k in get_config()},
}
# Lower versions need a package for the array API that is not installed with them.
ONE_VERSION = {"array API": pytest.mark.one_version}
NAMES = [pytest.param(name, marks=ONE_VERSION.get(name, ())) for name in GLOBAL]


def fit_and_predict(X):
    """Return what estimators of all kinds predict of a table with categories."""
    est = MultiTaskEstimator(**SETTINGS).fit(X, Y, WEIGHT, X_val=X, y_val=Y)
    regressor = MultiTaskRegressor(**SETTINGS).fit(X, Y[["value"]])
    embedded = SETTINGS | {"encoder": MLP((4,), categories="embed", scale="quantile")}
    classifier = MultiTaskClassifier(**embedded)
    classifier.partial_fit(X, CLASSES, classes=[range(3), [0, 1]])
    classifier.partial_fit(X, CLASSES, sample_weight=WEIGHT)
    return [
        *(est.predict(X).astype(str), est.predict_proba(X)[0]),
        *(est.score(X, Y, WEIGHT), est.task_estimator("red").predict_proba(X)),
        multitask_report(est, X, Y).frame["r2"].to_numpy(float),
        *(regressor.predict(X), *classifier.predict_proba(X)),
        est.predict_interval(X)[1],
    ]


EXPECTED = {}


def expected(name, call, *args):
    """Return what a call returns without settings, called once for all of them."""
    if name not in EXPECTED:
        EXPECTED[name] = call(*args)
    return EXPECTED[name]


def assert_same(found, base):
    for one, other in zip(found, base, strict=True):
        assert_array_equal(one, other)


@pytest.mark.parametrize(
    ("settings", "kind"),
    [
        *(
            pytest.param(name, "pandas", marks=ONE_VERSION.get(name, ()))
            for name in GLOBAL
        ),
        ("pandas", "polars"),
        ("polars", "polars"),
    ],
)
def test_estimators(settings, kind):
    base = expected("estimators", fit_and_predict, PANDAS)
    with config_context(**GLOBAL[settings]):
        assert_same(fit_and_predict(FRAMES[kind]), base)


def run_tools():
    """Return what scikit-learn's tools and those of skmtl find of pipelines."""
    columns = make_column_transformer(
        (StandardScaler(), ["number", "level"]),
        (OneHotEncoder(sparse_output=False), ["color"]),
    )
    est = MultiTaskClassifier(**SETTINGS | {"n_estimators": 1})
    pipe = make_pipeline(columns, est).fit(PANDAS, CLASSES)
    cv = KFold(2)
    scoring = make_multitask_scorers(["accuracy", "neg_log_loss"])
    scores = cross_validate(est, PANDAS, CLASSES, cv=cv, scoring=scoring)
    tensor = torch.from_numpy(WEIGHT)
    return [
        *pipe.predict_proba(PANDAS),
        *(scores["test_accuracy"], scores["test_neg_log_loss"]),
        cross_val_predict(est, PANDAS, CLASSES, cv=cv),
        est.fit(tensor, tensor > 1).predict(tensor),
        est.fit(WEIGHT.reshape(N, 2), CLASSES).predict(WEIGHT),
    ]


@pytest.mark.parametrize("settings", NAMES)
def test_tools(settings):
    base = expected("tools", run_tools)
    with config_context(**GLOBAL[settings]):
        assert_same(run_tools(), base)


@pytest.mark.parametrize("settings", NAMES)
def test_models_that_were_fitted_under_other_settings(settings, tmp_path):
    with config_context(**GLOBAL[settings]):
        est = MultiTaskEstimator(**SETTINGS).fit(PANDAS, Y)
        skmtl.save(est, tmp_path / "model")
    base = est.predict(PANDAS)
    with config_context(**GLOBAL[settings]):
        loaded = skmtl.load(tmp_path / "model")
        assert_array_equal(loaded.predict(PANDAS), base)
        assert repr(loaded) == repr(est)
        est.set_params(warm_start=True).fit(PANDAS, Y)
