"""Searches of other packages choose sharing, weighting and relation."""

import warnings

import numpy as np
import optuna
import pytest
from optuna.distributions import CategoricalDistribution, FloatDistribution
from optuna_integration import OptunaSearchCV
from sklearn.base import clone
from sklearn.experimental import enable_halving_search_cv  # noqa: F401
from sklearn.model_selection import (
    GridSearchCV,
    HalvingGridSearchCV,
    RandomizedSearchCV,
    cross_val_score,
)
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from skmtl import MultiTaskClassifier
from skmtl.encoder import MLP
from skmtl.metrics import make_multitask_scorer, make_multitask_scorers
from skmtl.model_selection import MultiTaskStratifiedKFold
from tests._networks import SAME_STEPS, table

EXPERIMENTAL = optuna.exceptions.ExperimentalWarning
SCORE = make_multitask_scorer("roc_auc")
CV = MultiTaskStratifiedKFold(2, shuffle=True, random_state=0)
GRID = {
    "multitaskclassifier__sharing": ["hard", "mmoe"],
    "multitaskclassifier__weighting": ["equal", "uncertainty"],
    "multitaskclassifier__relation": [None, "graph"],
}


def pipeline():
    est = MultiTaskClassifier(**{**SAME_STEPS, "encoder": MLP((6,)), "max_iter": 2})
    return make_pipeline(StandardScaler(), est)


def data():
    """Return inputs and labels of three tasks, of which one in five is missing."""
    X, Z = table(n=80)
    Y = (Z > 0).astype(float)
    Y[np.random.default_rng(0).random(Y.shape) < 0.2] = np.nan
    return X, Y


def check(search, X, Y):
    """The best score is that of the best parameters, and others did not win by NaN."""
    best = clone(pipeline()).set_params(**search.best_params_)
    scores = cross_val_score(best, X, Y, scoring=SCORE, cv=CV)
    assert search.best_score_ == pytest.approx(scores.mean())
    assert search.predict(X).shape == Y.shape
    expected = best.fit(X, Y).predict(X)
    np.testing.assert_array_equal(search.predict(X), expected)


def test_randomized_search():
    X, Y = data()
    search = RandomizedSearchCV(
        pipeline(), GRID, n_iter=4, scoring=SCORE, cv=CV, random_state=0
    ).fit(X, Y)
    scores = search.cv_results_["mean_test_score"]
    assert np.isfinite(scores).all()
    assert len(np.unique(scores)) > 1
    check(search, X, Y)


def test_halving_search_over_epochs():
    X, Y = data()
    search = HalvingGridSearchCV(
        pipeline(),
        GRID,
        resource="multitaskclassifier__max_iter",
        max_resources=4,
        factor=2,
        scoring=SCORE,
        cv=CV,
    ).fit(X, Y)
    assert search.n_candidates_ == [8, 4, 2]
    assert search.n_resources_ == [1, 2, 4]
    assert np.isfinite(search.cv_results_["mean_test_score"]).all()
    check(search, X, Y)


def test_halving_search_over_rows():
    X, Y = data()
    search = HalvingGridSearchCV(
        pipeline(),
        {"multitaskclassifier__sharing": ["hard", "mmoe", "additive", "soft"]},
        min_resources=40,
        factor=2,
        scoring=SCORE,
        cv=CV,
    ).fit(X, Y)
    assert search.n_candidates_ == [4, 2]
    assert search.n_resources_ == [40, 80]
    assert np.isfinite(search.cv_results_["mean_test_score"]).all()


def test_grid_search_by_several_scores():
    X, Y = data()
    search = GridSearchCV(
        pipeline(),
        {"multitaskclassifier__sharing": ["hard", "mmoe"]},
        scoring=make_multitask_scorers(["roc_auc", "balanced_accuracy"]),
        refit="roc_auc",
        cv=CV,
    ).fit(X, Y)
    for name in ("roc_auc", "balanced_accuracy"):
        assert np.isfinite(search.cv_results_[f"mean_test_{name}"]).all()
    check(search, X, Y)


@pytest.mark.filterwarnings(
    "ignore:.optuna.terminator. module:FutureWarning",
    # Of scikit-learn below 1.7, to whose tags this search is older.
    "ignore:The OptunaSearchCV or classes from which it inherits:DeprecationWarning",
)
def test_search_of_optuna():
    X, Y = data()
    space = {name: CategoricalDistribution(choices) for name, choices in GRID.items()}
    space["multitaskclassifier__alpha"] = FloatDistribution(1e-6, 1e-2, log=True)
    verbosity = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", EXPERIMENTAL)
        search = OptunaSearchCV(
            pipeline(), space, n_trials=4, scoring=SCORE, cv=CV, random_state=0
        )
        search.fit(X, Y)
    optuna.logging.set_verbosity(verbosity)
    assert len(search.trials_) == 4
    assert {trial.state.name for trial in search.trials_} == {"COMPLETE"}
    check(search, X, Y)
    score = SCORE(search.best_estimator_, X, Y)
    assert SCORE(search, X, Y) == pytest.approx(score)
