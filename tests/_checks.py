"""skmtl's own checks: what scikit-learn's do not ask of estimators of several tasks.

Each takes an unfitted estimator of any of the three kinds and of any sharing strategy.
"""

import pickle

import numpy as np
import pandas as pd
import pytest
import sklearn
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.base import clone, is_classifier, is_regressor
from sklearn.model_selection import GridSearchCV, KFold
from sklearn.utils.fixes import parse_version
from skorch.callbacks import Callback, EarlyStopping, LRScheduler

N = 120
N_CLASSES = (2, 3, 10)
NAMES = ["two", "three", "ten"]


def inputs(n=N):
    return np.random.default_rng(0).normal(size=(n, 5))


def numbers(X, n_tasks=3):
    rng = np.random.default_rng(1)
    Z = X @ rng.normal(size=(X.shape[1], n_tasks))
    return Z + 0.1 * rng.normal(size=Z.shape)


def codes(z, k):
    """Cut numbers into k classes of about the same size."""
    return np.searchsorted(np.quantile(z, np.arange(1, k) / k), z)


def targets(est, X):
    """Return the targets that an estimator is for: (n, 3) numbers as floats.

    Classes are 0 to K-1; a mixed estimator gets numbers in its last column.
    """
    Z = numbers(X)
    if is_regressor(est):
        return Z
    Y = np.column_stack([codes(z, k) for z, k in zip(Z.T, N_CLASSES, strict=True)])
    Y = Y.astype(float)
    if not is_classifier(est):
        Y[:, 2] = Z[:, 2]
    return Y


def class_tasks(est):
    """Return the numbers of the tasks of `targets` that have classes."""
    if is_regressor(est):
        return []
    return [0, 1, 2] if is_classifier(est) else [0, 1]


def all_predictions(est, X):
    """Return everything that an estimator predicts, as a list of arrays."""
    found = [np.asarray(est.predict(X))]
    if hasattr(est, "predict_proba"):
        proba = est.predict_proba(X)
        found += proba if isinstance(proba, list) else [proba]
    return [p for p in found if p is not None]


def assert_same_predictions(first, second, X, **tolerance):
    pairs = zip(all_predictions(first, X), all_predictions(second, X), strict=True)
    for a, b in pairs:
        assert a.shape == b.shape
        if a.dtype == object or a.dtype.kind in "US":
            assert_array_equal(a, b)
        else:
            assert_allclose(a, b, **tolerance)


def punched(Y, share=0.3):
    """Return which labels are missing; every class stays, and some rows lose all."""
    missing = np.random.default_rng(2).uniform(size=Y.shape) < share
    missing[:20] = False
    missing[20:23] = True
    return missing


# ------------------------------------------------------------------------- classes


def check_class_counts(est):
    """Tasks of 2, 3 and 10 classes: attributes, probabilities and predictions."""
    X = inputs()
    Y = targets(est, X)
    est.fit(X, Y)
    assert est.n_tasks_ == est.n_outputs_ == 3
    assert est.task_names_ == ["task0", "task1", "task2"]
    predicted = est.predict(X)
    assert predicted.shape == Y.shape
    assert predicted.dtype == Y.dtype
    for t in class_tasks(est):
        assert_array_equal(est.classes_[t], np.arange(N_CLASSES[t]))
        assert est.n_classes_[t] == N_CLASSES[t]
        assert set(predicted[:, t]) <= set(est.classes_[t])
    assert est.score(X, Y) > 0.5


def check_probabilities(est):
    """A list with one array per task, whose rows sum to 1 and agree with predict."""
    X = inputs()
    est.fit(X, targets(est, X))
    if not class_tasks(est):
        assert not hasattr(est, "predict_proba")
        return
    proba, log_proba = est.predict_proba(X), est.predict_log_proba(X)
    assert isinstance(proba, list)
    assert isinstance(log_proba, list)
    assert len(proba) == len(log_proba) == 3
    predicted = est.predict(X)
    for t in range(3):
        if t not in class_tasks(est):
            assert proba[t] is None
            assert log_proba[t] is None
            continue
        assert proba[t].shape == (N, N_CLASSES[t])
        assert (proba[t] >= 0).all()
        assert_allclose(proba[t].sum(axis=1), 1, rtol=1e-6)
        assert_allclose(np.exp(log_proba[t]), proba[t], rtol=1e-5, atol=1e-12)
        best = est.classes_[t][proba[t].argmax(axis=1)]
        assert_array_equal(best.astype(float), predicted[:, t].astype(float))


def check_one_row(est):
    """A row is predicted alone as it is in the table."""
    X = inputs()
    est.fit(X, targets(est, X))
    for rows in ([0], [N - 1], [7, 3]):
        for part, whole in zip(
            all_predictions(est, X[rows]), all_predictions(est, X), strict=True
        ):
            assert_allclose(part, whole[rows], rtol=1e-7, atol=1e-10)


def check_one_column(est):
    """A single column is one-dimensional, however it is given."""
    X = inputs()
    y = targets(est, X)[:, 1]
    flat = clone(est).fit(X, y)
    column = clone(est).fit(X, y[:, None])
    frame = clone(est).fit(X, pd.DataFrame({"three": y}))
    assert flat.predict(X).shape == (N,)
    assert_same_predictions(flat, column, X)
    assert_same_predictions(flat, frame, X)
    assert frame.task_names_ == ["three"]
    if class_tasks(est):
        assert_array_equal(flat.classes_, [0, 1, 2])
        assert flat.n_classes_ == 3
        assert flat.predict_proba(X).shape == (N, 3)


# ------------------------------------------------------------------------- label types


def frame_of(est, X):
    """Return targets as a DataFrame of columns of many types."""
    Y = pd.DataFrame(targets(est, X), columns=NAMES)
    if is_regressor(est):
        return Y.astype({"two": "float32", "ten": "Float64"})
    words = np.array(["red", "green", "blue"])
    Y["two"] = Y["two"] == 1
    Y["three"] = pd.Categorical(words[Y["three"].astype(int)])
    if is_classifier(est):
        Y["ten"] = Y["ten"].astype("Int64")
    return Y


def check_frame(est):
    """DataFrame targets: names, native types back, and the same model as arrays."""
    X = inputs()
    Y = frame_of(est, X)
    est.fit(X, Y)
    assert est.task_names_ == NAMES
    frame = est.predict_frame(X)
    assert list(frame.columns) == NAMES
    predicted = est.predict(X)
    assert predicted.shape == (N, 3)
    for t, name in enumerate(NAMES):
        assert_array_equal(frame[name].to_numpy(), predicted[:, t])
        if t in class_tasks(est):
            assert set(frame[name]) <= set(Y[name])
            assert {type(label) for label in predicted[:, t]} == {
                type(label) for label in est.classes_[t].tolist()
            }
    assert 0.3 < est.score(X, Y) <= 1


def check_strings_and_mixed_columns(est):
    """Lists of rows with labels of different types keep those types."""
    X = inputs()
    Y = targets(est, X)
    if not class_tasks(est):
        assert_same_predictions(clone(est).fit(X, Y), clone(est).fit(X, Y.tolist()), X)
        return
    words = np.array(["no", "yes"])
    rows = [
        [str(words[int(a)]), int(b), float(c) if 2 not in class_tasks(est) else int(c)]
        for a, b, c in Y
    ]
    est.fit(X, rows)
    predicted = est.predict(X)
    assert predicted.dtype == object
    kind = int if 2 in class_tasks(est) else float
    assert all(
        isinstance(a, str) and isinstance(b, int) and isinstance(c, kind)
        for a, b, c in predicted.tolist()
    )
    assert est.classes_[0].tolist() == ["no", "yes"]
    assert_same_predictions(est, clone(est).fit(X, np.array(rows, dtype=object)), X)
    assert est.score(X, rows) > 0.5


# ----------------------------------------------------------------------- missing labels


def marked(est, Y, missing):
    """Return the same targets with every way to mark a missing label."""
    integer = not (set(range(3)) - set(class_tasks(est)))
    with_nan = np.where(missing, np.nan, Y)
    objects = Y.astype(object)
    if integer:
        objects[:] = [[int(label) for label in row] for row in Y]
    with_none, with_any = objects.copy(), objects.copy()
    with_none[missing] = None
    for i, j in zip(*np.nonzero(missing), strict=True):
        with_any[i, j] = [None, np.nan, pd.NA, pd.NaT, float("nan")][(i + j) % 5]
    nullable = pd.DataFrame(Y).astype("Int64" if integer else "Float64")
    yield "NaN", with_nan, {}
    yield "None", with_none, {}
    yield "a mix", with_any, {}
    yield "list", with_none.tolist(), {}
    yield "pd.NA", nullable.mask(missing), {}
    yield "masked", np.ma.MaskedArray(Y.astype(int) if integer else Y, missing), {}
    yield "masked NaN", np.ma.masked_invalid(with_nan), {}
    yield "DataFrame", pd.DataFrame(with_nan), {}
    yield "-1", np.where(missing, -1.0, Y), {"missing_label": -1}
    if integer:
        coded = np.where(missing, -1, Y.astype(int))
        yield "integers and -1", coded, {"missing_label": -1}
        text = np.where(missing, "?", Y.astype(int).astype(str))
        yield "'?'", text, {"missing_label": "?"}
        frame = pd.DataFrame(text).replace("?", None).astype("category")
        yield "categories", frame, {}


def check_missing_labels(est):
    """30 % of labels missing: every marker means the same, to fit and to score."""
    X = inputs()
    Y = targets(est, X)
    if is_regressor(est) or 2 not in class_tasks(est):
        Y = np.where(Y == -1, -1.5, Y)  # -1 is a marker below
    missing = punched(Y)
    scores, fits = {}, {}
    for marker, labels, parameters in marked(est, Y, missing):
        fits[marker] = clone(est).set_params(**parameters).fit(X, labels)
        scores[marker] = fits[marker].score(X, labels)
    first = fits["NaN"]
    expected = [p.astype(float) for p in all_predictions(first, X)]
    for marker, fitted in fits.items():
        found = [p.astype(float) for p in all_predictions(fitted, X)]
        for a, b in zip(found, expected, strict=True):
            assert_allclose(a, b, err_msg=marker)
        assert_allclose(scores[marker], scores["NaN"], err_msg=marker)
    predicted = first.predict(X)
    assert not np.isnan(predicted).any()
    right = []
    for t in range(3):
        known = ~missing[:, t]
        right.append(first.task_estimator(t).score(X[known], Y[known, t]))
    assert_allclose(scores["NaN"], np.mean(right))


def check_rows_without_labels(est):
    """A row without any label is as good as none."""
    X = inputs()
    Y = targets(est, X)
    Y[::3] = np.nan
    kept = np.arange(N) % 3 > 0
    assert_same_predictions(
        clone(est).fit(X, Y), clone(est).fit(X[kept], Y[kept]), X, rtol=1e-7
    )


def check_task_without_labels(est):
    """A task that has none is an error that names it."""
    X = inputs()
    Y = pd.DataFrame(targets(est, X), columns=NAMES)
    Y["three"] = np.nan
    with pytest.raises(ValueError, match=r"[Tt]ask 'three' has no labelled row"):
        est.fit(X, Y)


# ------------------------------------------------------------------------- folds


def check_class_absent_from_fold(est):
    """A class that training never saw is a wrong answer, not an error."""
    X = inputs()
    Y = targets(est, X)
    if class_tasks(est):
        Y[:, 1] = 0
        Y[: N // 3, 1] = 2  # the first fold alone holds class 2
        Y[N // 3 : N // 2, 1] = 1
    search = GridSearchCV(
        est, {"learning_rate_init": [1e-3, 1e-2]}, cv=KFold(3), return_train_score=True
    ).fit(X, Y)
    for key in ("mean_test_score", "mean_train_score", "split0_test_score"):
        assert np.isfinite(search.cv_results_[key]).all()
    if class_tasks(est):
        partial = clone(est).fit(X[N // 3 :], Y[N // 3 :])
        assert_array_equal(partial.classes_[1], [0, 1])
        view = partial.task_estimator(1)
        assert view.score(X[: N // 3], Y[: N // 3, 1]) == 0


def check_single_class(est):
    """A task of which only one class is seen predicts it; the others train."""
    X = inputs()
    Y = targets(est, X)
    if not class_tasks(est):
        Y[:, 1] = 4.5
        predicted = est.fit(X, Y).predict(X)
        assert_allclose(predicted[:, 1], 4.5, atol=1e-6)
        return
    Y[:, 1] = 7
    est.fit(X, Y)
    assert_array_equal(est.classes_[1], [7])
    assert_array_equal(est.predict(X)[:, 1].astype(float), np.full(N, 7.0))
    assert_array_equal(est.predict_proba(X)[1], np.ones((N, 1)))
    assert est.task_estimator(0).score(X, Y[:, 0]) > 0.7


# ------------------------------------------------------------------------- weights


def check_zero_weights(est):
    """Weight zero is no row; and, given label by label, no label."""
    X = inputs()
    Y = targets(est, X)
    kept = np.random.default_rng(3).uniform(size=N) > 0.3
    kept[:20] = True
    weighted = clone(est).fit(X, Y, sample_weight=kept.astype(float))
    dropped = clone(est).fit(X[kept], Y[kept])
    assert_same_predictions(weighted, dropped, X, rtol=1e-7, atol=1e-9)
    assert_allclose(weighted.score(X, Y, kept), dropped.score(X[kept], Y[kept]))

    missing = punched(Y)
    weighted = clone(est).fit(X, Y, sample_weight=1.0 - missing)
    without = clone(est).fit(X, np.where(missing, np.nan, Y))
    assert_same_predictions(weighted, without, X, rtol=1e-7, atol=1e-9)


def check_integer_weights(est):
    """Weight two is the row twice."""
    X = inputs(60)
    Y = targets(est, X)
    weight = np.random.default_rng(3).integers(0, 3, size=60)
    weight[:20] = 1
    est.set_params(batch_size=200, early_stopping=False)
    weighted = clone(est).fit(X, Y, sample_weight=weight)
    repeated = clone(est).fit(X.repeat(weight, axis=0), Y.repeat(weight, axis=0))
    assert_same_predictions(weighted, repeated, X, rtol=1e-7, atol=1e-9)


# ------------------------------------------------------------------------- invariance


def check_label_permutation(est):
    """Renaming the classes, so that their order changes, renames the predictions."""
    X = inputs()
    Y = targets(est, X)
    est.set_params(precision="float64")
    order = {t: np.random.default_rng(t).permutation(N_CLASSES[t]) for t in range(3)}
    order[0] = np.array([1, 0])
    renamed = Y.copy()
    for t in class_tasks(est):
        renamed[:, t] = order[t][Y[:, t].astype(int)]
    before, after = clone(est).fit(X, Y), clone(est).fit(X, renamed)
    predicted = before.predict(X)
    for t in range(3):
        if t in class_tasks(est):
            expected = order[t][predicted[:, t].astype(int)]
            assert_array_equal(after.predict(X)[:, t].astype(int), expected)
            assert_allclose(
                after.predict_proba(X)[t][:, order[t]],
                before.predict_proba(X)[t],
                rtol=1e-6,
                atol=1e-9,
            )
        else:
            assert_allclose(after.predict(X)[:, t], predicted[:, t], rtol=1e-6)


def check_units(est):
    """Numbers in other units are predicted in those units."""
    X = inputs()
    Y = targets(est, X)
    scaled = Y.copy()
    tasks = [t for t in range(3) if t not in class_tasks(est)]
    scaled[:, tasks] = 1e4 * Y[:, tasks] + 1e5
    before, after = (
        clone(est).fit(X, Y).predict(X),
        clone(est).fit(X, scaled).predict(X),
    )
    for t in range(3):
        expected = 1e4 * before[:, t] + 1e5 if t in tasks else before[:, t]
        assert_allclose(after[:, t], expected, rtol=1e-6)


# ------------------------------------------------------------------------- life cycle


class Count(Callback):
    """A user's callback; skorch takes names without _ at the end for parameters."""

    def on_train_begin(self, net, **kwargs):
        self.epochs_ = self.batches_ = 0

    def on_epoch_end(self, net, **kwargs):
        self.epochs_ += 1

    def on_batch_end(self, net, **kwargs):
        self.batches_ += kwargs["training"]


def check_pickle_after_callbacks(est):
    """skorch's callbacks work, and leave nothing that cannot be pickled."""
    X = inputs()
    Y = targets(est, X)
    callbacks = [
        Count(),
        LRScheduler("StepLR", step_size=2),
        EarlyStopping(monitor="train_loss", patience=3),
    ]
    est.set_params(callbacks=callbacks, early_stopping=False, batch_size=50).fit(X, Y)
    assert callbacks[0].epochs_ == est.n_iter_ > 0
    assert callbacks[0].batches_ == 3 * est.n_iter_
    assert_round_trip(est, X)


def check_pickle_after_progress_bar(est):
    """The progress bar leaves nothing behind, with and without held-out rows."""
    X = inputs()
    Y = targets(est, X)
    est.set_params(verbose=1, early_stopping=True, max_iter=3).fit(X, Y)
    assert_round_trip(est, X)


def check_pickle_after_scikit_learn_s_callbacks(est):
    """scikit-learn's callbacks watch a fit, and leave it picklable."""
    if parse_version(sklearn.__version__) < parse_version("1.9"):
        pytest.skip("scikit-learn has callbacks since 1.9")
    from sklearn.callback import ProgressBar, ScoringMonitor

    X = inputs()
    Y = targets(est, X)
    monitor = ScoringMonitor(scoring=score_of_tasks)
    est.set_callbacks(monitor, ProgressBar()).set_params(max_iter=3).fit(X, Y)
    twin = pickle.loads(pickle.dumps(est))
    assert_same_predictions(twin, est, X)


def score_of_tasks(est, X, y):
    """Score every task, for a monitor."""
    return {"mean": est.score(X, y)}


def assert_round_trip(est, X):
    stored = pickle.dumps(est)
    twin = pickle.loads(stored)
    assert_same_predictions(twin, est, X)
    assert_same_predictions(pickle.loads(pickle.dumps(twin)), est, X)
    clone(twin)


def check_refit_is_identical(est):
    """The same random_state gives the same bits."""
    X = inputs()
    Y = targets(est, X)
    first, second = clone(est).fit(X, Y), clone(est).fit(X, Y)
    for a, b in zip(all_predictions(first, X), all_predictions(second, X), strict=True):
        assert_array_equal(a, b)


def check_task_views(est):
    """Views of single tasks predict what the estimator does."""
    X = inputs()
    Y = frame_of(est, X)
    est.fit(X, Y)
    predicted = est.predict(X)
    for t, name in enumerate(NAMES):
        view = est.task_estimator(name)
        assert is_classifier(view) == (t in class_tasks(est))
        assert is_regressor(view) == (t not in class_tasks(est))
        assert_array_equal(view.predict(X), predicted[:, t])
        assert_array_equal(est.task_estimator(t).predict(X), predicted[:, t])
        if t in class_tasks(est):
            assert_array_equal(view.predict_proba(X), est.predict_proba(X)[t])
            assert_array_equal(view.classes_, est.classes_[t])


CHECKS = [value for name, value in list(globals().items()) if name.startswith("check_")]
#: What they look at is over before there is a network, or begins after its last layer.
OF_LABELS = [
    check_frame,
    check_strings_and_mixed_columns,
    check_missing_labels,
    check_task_without_labels,
    check_class_absent_from_fold,
]
