"""scikit-learn's own tools on several targets, with and without missing labels."""

import functools
import warnings

import joblib
import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
import sklearn
from sklearn import config_context
from sklearn.base import clone, is_classifier, is_regressor
from sklearn.calibration import CalibratedClassifierCV
from sklearn.compose import ColumnTransformer
from sklearn.ensemble import StackingClassifier, StackingRegressor
from sklearn.exceptions import FitFailedWarning, NotFittedError
from sklearn.experimental import enable_halving_search_cv  # noqa: F401
from sklearn.frozen import FrozenEstimator
from sklearn.inspection import (
    DecisionBoundaryDisplay,
    PartialDependenceDisplay,
    partial_dependence,
    permutation_importance,
)
from sklearn.linear_model import RidgeClassifier
from sklearn.metrics import ConfusionMatrixDisplay, RocCurveDisplay, accuracy_score
from sklearn.model_selection import (
    FixedThresholdClassifier,
    GridSearchCV,
    HalvingGridSearchCV,
    KFold,
    LearningCurveDisplay,
    ParameterGrid,
    RandomizedSearchCV,
    TunedThresholdClassifierCV,
    ValidationCurveDisplay,
    cross_val_predict,
    cross_val_score,
    cross_validate,
    permutation_test_score,
    train_test_split,
    validation_curve,
)
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler
from sklearn.utils.fixes import parse_version
from sklearn.utils.validation import check_is_fitted

from skmtl import MultiTaskClassifier, MultiTaskEstimator, MultiTaskRegressor
from skmtl.encoder import MLP
from skmtl.sharing import SHARING, Additive, Hard, Independent
from tests._networks import plain_mlp

mpl.use("Agg")


@pytest.fixture(autouse=True)
def _figures_are_closed():
    yield
    plt.close("all")


N, N_FEATURES = 90, 4
SETTINGS = {
    "encoder": plain_mlp((8,)),
    "learning_rate_init": 1e-2,
    "n_estimators": 1,
    "max_iter": 3,
    "random_state": 0,
}


def numbers():
    rng = np.random.default_rng(0)
    X = rng.normal(size=(N, N_FEATURES))
    return X, X @ rng.normal(size=(N_FEATURES, 3))


def classes(dtype=int):
    X, Z = numbers()
    cuts = [0], [-1, 1], [-1, 0, 1]
    columns = [np.digitize(z, cut) for z, cut in zip(Z.T, cuts, strict=True)]
    return X, np.column_stack(columns).astype(dtype)


def with_gaps(Y):
    missing = np.random.default_rng(1).uniform(size=Y.shape) < 0.3
    return np.where(missing, np.nan, Y)


def mixed():
    X, Z = numbers()
    _, Y = classes(float)
    return X, np.column_stack([Y[:, 0], Z[:, 1], Y[:, 2]])


def case(name):
    """Return an estimator, data and the ``cv`` that scikit-learn takes for them."""
    if name.startswith("classifier"):
        est, (X, Y) = MultiTaskClassifier(**SETTINGS), classes()
    elif name.startswith("regressor"):
        est, (X, Y) = MultiTaskRegressor(**SETTINGS), numbers()
    else:
        est, (X, Y) = MultiTaskEstimator(**SETTINGS), mixed()
    if "words" in name:
        return est, X, np.array(["no", "yes", "maybe", "never"])[Y], 3
    if "frame" in name:
        X = pd.DataFrame(X, columns=list("abcd"))
        return est, X, pd.DataFrame(Y, columns=["two", "three", "four"]), 3
    if "-1" in name:
        Y = np.nan_to_num(with_gaps(Y), nan=-1).astype(int)
        return est.set_params(missing_label=-1), X, Y, 3
    if "missing" not in name:
        return est, X, Y, 3
    # check_cv looks at a classifier's labels, and at no others, unless cv has split.
    return est, X, with_gaps(Y), KFold(3) if is_classifier(est) else 3


CASES = [
    "classifier",
    "classifier, missing labels",
    "classifier, missing labels as -1",
    "classifier, words",
    "classifier, frame",
    "regressor",
    "regressor, missing labels",
    "mixed",
    "mixed, missing labels",
]
every_case = pytest.mark.parametrize("name", CASES)
#: One network, none that is shared, and one whose tasks read each other's answers.
FEW = ["hard", "independent", "chain"]


def assert_good(search, n_candidates=None):
    """No score of a search may be nan, least of all without a word."""
    results = search.cv_results_
    scores = [v for k, v in results.items() if "_test_score" in k and "rank" not in k]
    assert np.isfinite(scores).all()
    assert np.isfinite(search.best_score_)
    if n_candidates is not None:
        assert len(results["params"]) == n_candidates


# ------------------------------------------------------------------------- composition


@every_case
def test_pipeline(name):
    est, X, Y, _ = case(name)
    pipe = make_pipeline(StandardScaler(), est).fit(X, Y)
    assert np.asarray(pipe.predict(X)).shape == np.asarray(Y).shape
    assert np.isfinite(pipe.score(X, Y))
    assert is_classifier(pipe) == is_classifier(est)
    assert is_regressor(pipe) == is_regressor(est)
    scaled = StandardScaler().fit_transform(X)
    np.testing.assert_array_equal(
        pipe.predict(X), clone(est).fit(scaled, Y).predict(scaled)
    )


@every_case
@pytest.mark.parametrize("sparse", [False, True])
@pytest.mark.sampled(5)
def test_column_transformer(name, sparse):
    est, X, Y, cv = case(name)
    X = pd.DataFrame(X, columns=list("abcd")).assign(kind=np.resize(["x", "y"], N))
    columns = ColumnTransformer(
        [
            ("numbers", StandardScaler(), list("abcd")),
            ("kinds", OneHotEncoder(sparse_output=sparse), ["kind"]),
        ],
        sparse_threshold=float(sparse),
    )
    scores = cross_val_score(make_pipeline(columns, est), X, Y, cv=cv)
    assert np.isfinite(scores).all()


# ------------------------------------------------------------------------- searches


GRIDS = {
    "strings": {"sharing": sorted(SHARING)},
    "specs": {"sharing": [Hard(), Independent(), Additive(strength=0.01)]},
    "nested": {"sharing": [Additive()], "sharing__strength": [0.0, 0.01, 1.0]},
    "others": {
        "weighting": ["equal"],
        "alpha": [0, 0.1],
        "optimizer": ["sgd", "adam"],
    },
    "several": [
        {"sharing": ["hard", "independent"]},
        {"sharing": [Additive()], "sharing__strength": [0.0, 0.1]},
        {"encoder": [MLP()], "encoder__hidden_layer_sizes": [(), (8,), 4]},
    ],
}
#: What is searched over and what is learned have nothing to do with each other.
SEARCHES = [
    *((name, "several") for name in CASES),
    *((name, "strings") for name in ("classifier", "regressor", "mixed")),
    *(("classifier", grid) for grid in ("specs", "nested", "others")),
]


@pytest.mark.parametrize(("name", "grid"), SEARCHES)
@pytest.mark.sampled(4)
def test_grid_search(name, grid):
    est, X, Y, cv = case(name)
    search = GridSearchCV(est, GRIDS[grid], cv=cv).fit(X, Y)
    assert_good(search, len(ParameterGrid(GRIDS[grid])))
    assert search.predict(X).shape == np.asarray(Y).shape
    assert np.isfinite(search.score(X, Y))
    if not is_regressor(est):
        assert len(search.predict_proba(X)) == 3
        assert len(search.classes_) == 3
    refit = clone(est).set_params(**search.best_params_).fit(X, Y)
    np.testing.assert_array_equal(refit.predict(X), search.predict(X))


@every_case
@pytest.mark.sampled(4)
def test_grid_search_in_a_pipeline(name):
    est, X, Y, cv = case(name)
    pipe = Pipeline([("scale", StandardScaler()), ("net", est)])
    grid = {
        "scale": ["passthrough", StandardScaler()],
        "net__sharing": ["hard", "independent"],
    }
    assert_good(GridSearchCV(pipe, grid, cv=cv).fit(X, Y), 4)


@every_case
@pytest.mark.sampled(4)
def test_randomized_search(name):
    est, X, Y, cv = case(name)
    space = {"sharing": list(SHARING), "learning_rate_init": [1e-3, 1e-2, 1e-1]}
    search = RandomizedSearchCV(est, space, n_iter=3, cv=cv, random_state=0)
    assert_good(search.fit(X, Y), 3)


@every_case
@pytest.mark.sampled(4)
def test_halving_search(name):
    est, X, Y, cv = case(name)
    grid = {"sharing": ["hard", "independent", "additive"]}
    search = HalvingGridSearchCV(est, grid, cv=cv, min_resources=30, random_state=0)
    assert_good(search.fit(X, Y))
    assert search.n_iterations_ == 2


def test_halving_search_over_epochs():
    est, X, Y, cv = case("classifier")
    search = HalvingGridSearchCV(
        est,
        {"sharing": FEW},
        cv=cv,
        resource="max_iter",
        max_resources=3,
        random_state=0,
    )
    assert_good(search.fit(X, Y))


def score_of_first_task(est, X, y):
    """Score one task, as a user's scorer would."""
    y = np.asarray(y)[:, 0]
    known = np.array([label == label and label != -1 for label in y])
    return accuracy_score(
        y[known].astype(str), np.asarray(est.predict(X))[known, 0].astype(str)
    )


def test_a_user_s_scorer():
    est, X, Y, cv = case("classifier, missing labels")
    scoring = {"first": score_of_first_task, "mean": _mean_score}
    search = GridSearchCV(est, {"sharing": FEW}, cv=cv, scoring=scoring, refit="mean")
    assert_good(search.fit(X, Y))
    assert np.isfinite(search.cv_results_["mean_test_first"]).all()


def _mean_score(est, X, y):
    return est.score(X, y)


# Of processes, whose start is slow, test_clusters.py has a search by default.
@pytest.mark.parametrize("backend", ["loky", "threading"])
@pytest.mark.sampled(2, 1)
def test_two_jobs_find_what_one_does(backend):
    est, X, Y, cv = case("classifier, missing labels")
    search = GridSearchCV(est, {"sharing": FEW}, cv=cv).fit(X, Y)
    folds = cross_validate(est, X, Y, cv=cv, return_estimator=True)
    with joblib.parallel_backend(backend, n_jobs=2):
        parallel_search = GridSearchCV(est, {"sharing": FEW}, cv=cv).fit(X, Y)
        parallel_folds = cross_validate(est, X, Y, cv=cv, return_estimator=True)
    assert_good(parallel_search)
    for key in ("split0_test_score", "mean_test_score"):
        np.testing.assert_array_equal(
            parallel_search.cv_results_[key], search.cv_results_[key]
        )
    np.testing.assert_array_equal(parallel_search.predict(X), search.predict(X))
    np.testing.assert_array_equal(parallel_folds["test_score"], folds["test_score"])
    for found, expected in zip(
        parallel_folds["estimator"], folds["estimator"], strict=True
    ):
        np.testing.assert_array_equal(
            found.predict_proba(X)[0], expected.predict_proba(X)[0]
        )


def test_a_fold_without_labels_of_a_task_scores_the_others():
    est, X, Y, _ = case("classifier, missing labels")
    Y[:30, 1] = np.nan
    search = GridSearchCV(est, {"sharing": FEW}, cv=KFold(3)).fit(X, Y)
    assert_good(search)


def test_a_search_over_what_cannot_be_fitted_says_so():
    est, X, Y, cv = case("classifier")
    grid = {"sharing": ["hard", "unknown"]}
    search = GridSearchCV(est, grid, cv=cv)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        search.fit(X, Y)
    messages = " ".join(str(w.message) for w in caught)
    assert "'sharing' parameter of MultiTaskClassifier must be a str among" in messages
    assert "non-finite" in messages
    assert any(issubclass(w.category, FitFailedWarning) for w in caught)
    assert np.isfinite(search.best_score_)


@pytest.mark.filterwarnings("ignore:invalid value encountered in cast")
def test_a_search_with_integer_cv_on_labels_with_gaps_is_refused_by_scikit_learn():
    est, X, Y, _ = case("classifier, missing labels")
    with pytest.raises(ValueError, match="NaN"):
        GridSearchCV(est, {"sharing": ["hard"]}, cv=3).fit(X, Y)


# ------------------------------------------------------------------------- validation


@every_case
@pytest.mark.sampled(2)
def test_cross_validate(name):
    est, X, Y, cv = case(name)
    results = cross_validate(
        est, X, Y, cv=cv, return_train_score=True, return_estimator=True
    )
    assert np.isfinite(results["test_score"]).all()
    assert np.isfinite(results["train_score"]).all()
    for fitted, (_, test) in zip(results["estimator"], KFold(3).split(X), strict=True):
        X_test, Y_test = _rows(X, test), _rows(Y, test)
        assert fitted.score(X_test, Y_test) in results["test_score"]


def _rows(table, rows):
    return table.iloc[rows] if hasattr(table, "iloc") else table[rows]


@every_case
@pytest.mark.sampled(2, 1)
def test_cross_val_predict(name):
    est, X, Y, cv = case(name)
    predicted = cross_val_predict(est, X, Y, cv=cv)
    assert predicted.shape == (N, 3)
    for train, test in KFold(3).split(X):
        fitted = clone(est).fit(_rows(X, train), _rows(Y, train))
        np.testing.assert_array_equal(fitted.predict(_rows(X, test)), predicted[test])


@pytest.mark.parametrize("method", ["predict_proba", "predict_log_proba"])
@pytest.mark.parametrize("name", ["classifier", "classifier, words"])
def test_cross_val_predict_of_probabilities(name, method):
    est, X, Y, cv = case(name)
    proba = cross_val_predict(est, X, Y, cv=cv, method=method)
    assert [p.shape for p in proba] == [(N, 2), (N, 3), (N, 4)]
    if method == "predict_proba":
        for p in proba:
            np.testing.assert_allclose(p.sum(axis=1), 1)


@every_case
@pytest.mark.sampled(4)
def test_learning_curve_display(name):
    est, X, Y, cv = case(name)
    display = LearningCurveDisplay.from_estimator(
        est, X, Y, cv=cv, train_sizes=[0.5, 1.0], score_name="Score"
    )
    assert np.isfinite(display.train_scores).all()
    assert np.isfinite(display.test_scores).all()


@every_case
@pytest.mark.sampled(4)
def test_validation_curve(name):
    est, X, Y, cv = case(name)
    parameters = {"param_name": "sharing", "param_range": FEW}
    for scores in validation_curve(est, X, Y, cv=cv, **parameters):
        assert np.isfinite(scores).all()
    display = ValidationCurveDisplay.from_estimator(
        est, X, Y, cv=cv, param_name="alpha", param_range=[1e-3, 1e-1]
    )
    assert np.isfinite(display.test_scores).all()


@every_case
@pytest.mark.sampled(2, 1)
def test_permutation_importance(name):
    est, X, Y, _ = case(name)
    result = permutation_importance(est.fit(X, Y), X, Y, n_repeats=2, random_state=0)
    assert result.importances.shape == (N_FEATURES, 2)
    assert np.isfinite(result.importances).all()
    assert result.importances_mean.max() > 0


def test_permutation_test_score():
    est, X, Y, cv = case("classifier, missing labels")
    score, others, p = permutation_test_score(
        est.set_params(max_iter=10), X, Y, cv=cv, n_permutations=5, random_state=0
    )
    assert score > others.max()
    assert p < 0.2


@every_case
def test_train_test_split(name):
    est, X, Y, _ = case(name)
    X_train, X_test, Y_train, Y_test = train_test_split(X, Y, random_state=0)
    assert np.isfinite(est.fit(X_train, Y_train).score(X_test, Y_test))


# ------------------------------------------------------------------------- metadata


def weights(two_d):
    rng = np.random.default_rng(2)
    return rng.integers(0, 3, size=(N, 3) if two_d else N).astype(float)


@pytest.mark.parametrize("two_d", [False, True], ids=["rows", "labels"])
@pytest.mark.parametrize("name", ["classifier", "regressor, missing labels", "mixed"])
@pytest.mark.sampled(3)
def test_sample_weight_is_routed_to_fit_and_score(name, two_d):
    est, X, Y, cv = case(name)
    w = weights(two_d)
    expected = []
    for train, test in KFold(3).split(X):
        fitted = clone(est).fit(X[train], Y[train], sample_weight=w[train])
        expected.append(fitted.score(X[test], Y[test], sample_weight=w[test]))
    with config_context(enable_metadata_routing=True):
        est.set_fit_request(sample_weight=True).set_score_request(sample_weight=True)
        found = cross_validate(est, X, Y, cv=cv, params={"sample_weight": w})
        np.testing.assert_allclose(found["test_score"], expected)
        search = GridSearchCV(est, {"sharing": FEW}, cv=cv)
        assert_good(search.fit(X, Y, sample_weight=w), len(FEW))


@pytest.mark.skipif(
    parse_version(sklearn.__version__) < parse_version("1.9"),
    reason="a search of older versions routes no weights to the score of a pipeline",
)
@pytest.mark.parametrize("two_d", [False, True], ids=["rows", "labels"])
def test_sample_weight_is_routed_through_a_pipeline(two_d):
    est, X, Y, cv = case("classifier")
    w = weights(two_d)
    with config_context(enable_metadata_routing=True):
        est.set_fit_request(sample_weight=True).set_score_request(sample_weight=True)
        pipe = make_pipeline(StandardScaler().set_fit_request(sample_weight=False), est)
        grid = {"multitaskclassifier__sharing": FEW}
        search = GridSearchCV(pipe, grid, cv=cv)
        assert_good(search.fit(X, Y, sample_weight=w), len(FEW))


def test_sample_weight_reaches_fit_without_routing_too():
    est, X, Y, cv = case("classifier")
    w = weights(two_d=False)
    search = GridSearchCV(est, {"sharing": ["hard"]}, cv=cv).fit(X, Y, sample_weight=w)
    expected = clone(est).fit(X, Y, sample_weight=w)
    np.testing.assert_array_equal(search.predict(X), expected.predict(X))


def test_sample_weight_that_was_not_asked_for_is_refused():
    est, X, Y, cv = case("classifier")
    with config_context(enable_metadata_routing=True):
        search = GridSearchCV(est, {"sharing": ["hard"]}, cv=cv)
        with pytest.raises(ValueError, match="sample_weight"):
            search.fit(X, Y, sample_weight=weights(two_d=False))


@every_case
@pytest.mark.sampled(2)
def test_pipeline_scales_the_validation_set(name):
    est, X, Y, _ = case(name)
    X = 100 * X + 7
    train, valid = np.arange(60), np.arange(60, N)
    sets = _rows(X, train), _rows(Y, train), _rows(X, valid), _rows(Y, valid)
    X_train, Y_train, X_valid, Y_valid = sets
    scaler = StandardScaler().fit(X_train)
    expected = clone(est).fit(
        scaler.transform(X_train),
        Y_train,
        X_val=scaler.transform(X_valid),
        y_val=Y_valid,
    )
    with config_context(enable_metadata_routing=True):
        est.set_fit_request(X_val=True, y_val=True)
        pipe = Pipeline(
            [("scale", StandardScaler()), ("net", est)], transform_input=["X_val"]
        ).fit(X_train, Y_train, X_val=X_valid, y_val=Y_valid)
    assert pipe["net"].validation_scores_ == expected.validation_scores_
    np.testing.assert_array_equal(
        pipe.predict(X), expected.predict(scaler.transform(X))
    )


# ------------------------------------------------------------------------- one task


@functools.cache
def fitted_on_words():
    """Return a classifier of three tasks with words for labels, and its data."""
    est, X, Y, _ = case("classifier, words")
    return est.set_params(max_iter=60).fit(X, Y), X, Y


def test_a_view_of_a_task_is_an_estimator_of_its_kind():
    X, Y = mixed()
    est = MultiTaskEstimator(**SETTINGS).fit(X, Y)
    views = [est.task_estimator(t) for t in range(3)]
    assert [is_classifier(v) for v in views] == [True, False, True]
    assert [is_regressor(v) for v in views] == [False, True, False]
    for view in views:
        check_is_fitted(view)
        assert view.n_features_in_ == N_FEATURES
        assert view.predict(X).shape == (N,)
        twin = clone(view)
        assert twin.get_params().keys() == view.get_params().keys()
        with pytest.raises(NotFittedError):
            check_is_fitted(twin)
        with pytest.raises(NotFittedError):
            twin.predict(X)


@pytest.mark.parametrize("name", CASES)
@pytest.mark.sampled(2)
def test_a_view_fits_the_task_alone(name):
    est, X, Y, _ = case(name)
    Y = pd.DataFrame(np.asarray(Y), columns=["two", "three", "four"])
    if "classifier" in name:
        est.set_params(class_weight=[None, "balanced", None])
    est.set_params(task_weight={"three": 2.0}).fit(X, Y)
    before = est.predict(X)
    for task in est.task_names_:
        view = clone(est.task_estimator(task)).fit(X, Y[task])
        assert view.predict(X).shape == (N,)
        assert (
            view.predict(X).dtype.kind == est.task_estimator(task).predict(X).dtype.kind
        )
    np.testing.assert_array_equal(est.predict(X), before)


def test_a_view_of_a_regression_task_stays_one_where_its_numbers_are_whole():
    X, Y = mixed()
    est = MultiTaskEstimator(**SETTINGS).fit(X, Y)
    view = clone(est.task_estimator(1)).fit(X, np.round(Y[:, 1]))
    assert view.estimator_.task_types_ == ["regression"]


@pytest.mark.parametrize("task", [0, 1, 2])
def test_calibration_of_a_task(task):
    est, X, Y = fitted_on_words()
    view = est.task_estimator(task)
    calibrated = CalibratedClassifierCV(FrozenEstimator(view)).fit(X, Y[:, task])
    proba = calibrated.predict_proba(X)
    assert proba.shape == (N, est.n_classes_[task])
    np.testing.assert_allclose(proba.sum(axis=1), 1)
    np.testing.assert_array_equal(calibrated.classes_, est.classes_[task])
    assert calibrated.score(X, Y[:, task]) > 0.6


def test_calibration_of_a_task_that_refits():
    est, X, Y = fitted_on_words()
    calibrated = CalibratedClassifierCV(est.task_estimator(0), cv=3).fit(X, Y[:, 0])
    assert calibrated.score(X, Y[:, 0]) > 0.6


def test_partial_dependence_of_a_task():
    est, X, _ = fitted_on_words()
    grid = {"grid_resolution": 5}
    binary, several = est.task_estimator(0), est.task_estimator(2)
    PartialDependenceDisplay.from_estimator(binary, X, [0, (1, 2)], **grid)
    PartialDependenceDisplay.from_estimator(
        several, X, [0], target="maybe", kind="both", **grid
    )
    X, Z = numbers()
    regressor = MultiTaskRegressor(**SETTINGS).fit(X, Z)
    PartialDependenceDisplay.from_estimator(regressor.task_estimator(1), X, [0], **grid)
    # scikit-learn takes several numeric targets as they are.
    PartialDependenceDisplay.from_estimator(regressor, X, [0], target=1, **grid)
    whole = partial_dependence(regressor, X, [0])["average"]
    one = partial_dependence(regressor.task_estimator(1), X, [0])["average"]
    np.testing.assert_allclose(one[0], whole[1])


def test_roc_curve_and_confusion_matrix_of_a_task():
    est, X, Y = fitted_on_words()
    display = RocCurveDisplay.from_estimator(
        est.task_estimator(0), X, Y[:, 0], pos_label="yes"
    )
    assert display.roc_auc > 0.8
    matrix = ConfusionMatrixDisplay.from_estimator(est.task_estimator(2), X, Y[:, 2])
    assert matrix.confusion_matrix.sum() == N


@pytest.mark.parametrize("task", [0, 2])
@pytest.mark.parametrize("response_method", ["auto", "predict", "predict_proba"])
def test_decision_boundary_of_a_task(task, response_method):
    if task == 2 and response_method == "predict_proba":
        kwargs = {"class_of_interest": "maybe"}
    else:
        kwargs = {}
    est, X, Y, _ = case("classifier, words")
    est.fit(X[:, :2], Y)
    display = DecisionBoundaryDisplay.from_estimator(
        est.task_estimator(task),
        X[:, :2],
        response_method=response_method,
        grid_resolution=10,
        **kwargs,
    )
    assert display.response.shape[:2] == (10, 10)


def test_threshold_of_a_task():
    est, X, Y = fitted_on_words()
    view = est.task_estimator(0)
    settings = {"pos_label": "yes", "response_method": "predict_proba"}
    share = [
        (
            FixedThresholdClassifier(FrozenEstimator(view), threshold=c, **settings)
            .fit(X, Y[:, 0])
            .predict(X)
            == "yes"
        ).mean()
        for c in (0.0, 0.5, 1.1)
    ]
    assert share[0] == 1 > share[1] > share[2] == 0
    tuned = TunedThresholdClassifierCV(
        view, cv="prefit", refit=False, scoring="balanced_accuracy"
    ).fit(X, Y[:, 0])
    assert 0 < tuned.best_threshold_ < 1
    refit = TunedThresholdClassifierCV(view, cv=3).fit(X, Y[:, 0])
    assert refit.score(X, Y[:, 0]) > 0.6


def test_stacking_of_tasks():
    est, X, Y = fitted_on_words()
    tasks = [(f"task{t}", est.task_estimator(t)) for t in range(3)]
    stack = StackingClassifier(tasks, RidgeClassifier(), cv="prefit").fit(X, Y[:, 0])
    assert stack.score(X, Y[:, 0]) > 0.7
    # scikit-learn leaves out the first of each task's columns for a binary target.
    assert stack.transform(X).shape == (N, 1 + 2 + 3)
    X, Z = numbers()
    regressor = MultiTaskRegressor(**SETTINGS).fit(X, Z)
    tasks = [(f"task{t}", regressor.task_estimator(t)) for t in range(3)]
    stack = StackingRegressor(tasks, cv="prefit").fit(X, Z[:, 0])
    assert np.isfinite(stack.score(X, Z[:, 0]))


def test_cross_validation_of_a_view():
    est, X, Y = fitted_on_words()
    scores = cross_val_score(est.task_estimator(1), X, Y[:, 1], cv=3)
    assert scores.mean() > 0.5


def test_nested_grids_take_strategies_by_name():
    X, Y = classes()
    grid = [
        {"sharing": ["hard", "independent"]},
        {"sharing": ["additive"], "sharing__strength": [0.0, 1.0]},
        {"encoder__dropout": [0.1], "encoder": ["mlp"]},
    ]
    est = MultiTaskClassifier(n_estimators=1, max_iter=2, random_state=0)
    search = GridSearchCV(est, grid, cv=2, refit=False).fit(X, Y)
    assert np.isfinite(search.cv_results_["mean_test_score"]).all()
    est.set_params(sharing="additive", sharing__strength=0.5)
    assert repr(est.sharing) == "Additive(strength=0.5)"
    assert est.get_params()["sharing__strength"] == 0.5


def test_settings_of_a_strategy_that_is_none_are_refused():
    with pytest.raises(ValueError, match=r"'sharing' parameter.*'hard'.*Got 'soggy'"):
        MultiTaskClassifier(sharing="soggy").set_params(sharing__strength=1)
    with pytest.raises(ValueError, match="Invalid parameter 'strength'"):
        MultiTaskClassifier().set_params(sharing__strength=1)
