"""Predictions for each row by a model that has not seen it, for several tasks."""

from collections.abc import Sequence
from numbers import Integral
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.sparse import issparse
from scipy.sparse import vstack as sparse_vstack
from sklearn import get_config
from sklearn.base import BaseEstimator, clone
from sklearn.utils import indexable
from sklearn.utils.metadata_routing import (
    MetadataRouter,
    MethodMapping,
    process_routing,
)
from sklearn.utils.metaestimators import _safe_split
from sklearn.utils.parallel import Parallel, delayed
from sklearn.utils.validation import _check_method_params, _num_samples

from skmtl._core.validation import (
    HasMethods,
    StrOptions,
    validate_params,
    warn_user,
)
from skmtl._data.labels import read_labels
from skmtl.model_selection._check_cv import check_multitask_cv
from skmtl.model_selection._labels import list_first


@validate_params(
    {
        "estimator": [HasMethods("fit")],
        "X": "no_validation",
        "y": "no_validation",
        "groups": ["array-like", None],
        "cv": ["cv_object"],
        "n_jobs": [Integral, None],
        "verbose": ["verbose"],
        "params": [dict, None],
        "pre_dispatch": [Integral, str],
        "method": [StrOptions({"predict", "predict_proba"})],
    },
    prefer_skip_nested_validation=False,  # of the estimators that it fits
)
def cross_val_predict(
    estimator: BaseEstimator,
    X: Any,
    y: ArrayLike,
    *,
    groups: ArrayLike | None = None,
    cv: object = None,
    n_jobs: int | None = None,
    verbose: int = 0,
    params: dict[str, Any] | None = None,
    pre_dispatch: int | str = "2*n_jobs",
    method: str = "predict",
) -> Any:
    """Predict each row by a copy of the estimator that was fitted without its fold.

    What `sklearn.model_selection.cross_val_predict` is to one target. There missing
    labels turn into a class of their own where probabilities are asked for; here they
    reach ``fit`` as they are, and so do labels of all types.

    Parameters
    ----------
    estimator : estimator
        An estimator for several outputs, of skmtl or such as
        `sklearn.ensemble.RandomForestClassifier`, or a pipeline that ends with one.
    X : array-like or sparse matrix of shape (n_samples, ...)
        Inputs.
    y : array-like of shape (n_samples,) or (n_samples, n_tasks)
        Labels; missing ones where the estimator takes them.
    groups : array-like of shape (n_samples,), default=None
        Group of each row, for ``cv``.
    cv : int, splitter or iterable, default=None
        Number of folds of `skmtl.model_selection.MultiTaskStratifiedKFold` without
        shuffling, or of `skmtl.model_selection.MultiTaskStratifiedGroupKFold` with
        ``groups``; or a splitter, or pairs of row numbers, in which each row is once in
        a test set. None is 5.
    n_jobs : int or None, default=None
        Number of folds to fit at once; -1 for all processors.
    verbose : int, default=0
        How much joblib tells.
    params : dict or None, default=None
        What to give to ``fit``, such as ``{"sample_weight": w}``, of which each fold
        gets its rows; where metadata routing is enabled, to the splitter too.
    pre_dispatch : int or str, default="2*n_jobs"
        Number of folds that are handed out at once.
    method : {"predict", "predict_proba"}, default="predict"
        What to ask of the estimators.

    Returns
    -------
    ndarray or list of ndarray
        As the estimator's method gives it for all rows: of labels an array of shape
        (n_samples,) or (n_samples, n_tasks), of probabilities for several tasks a list
        of arrays of shape (n_samples, n_classes), None for a regression task of
        `skmtl.MultiTaskEstimator`. Columns are the sorted classes that any fold has
        learnt; a class that a training set lacks has probability 0 in its test rows, of
        which a warning tells.

    Raises
    ------
    ValueError
        If a row is in no test set or in several, or if the estimator has no such
        method.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn.datasets import load_iris
    >>> from skmtl import MultiTaskClassifier
    >>> from skmtl.model_selection import cross_val_predict
    >>> X, species = load_iris(return_X_y=True)
    >>> y = np.column_stack([species, X[:, 0] > 6]).astype(float)
    >>> y[::3, 0] = np.nan
    >>> est = MultiTaskClassifier(n_estimators=1, max_iter=5, random_state=0)
    >>> proba = cross_val_predict(est, X, y, cv=3, method="predict_proba")
    >>> [p.shape for p in proba]
    [(150, 3), (150, 2)]
    """
    if not hasattr(estimator, method):
        raise ValueError(
            f"The 'method' parameter of cross_val_predict must be one that the "
            f"estimator has. Got {method!r}, which {type(estimator).__name__} has not."
        )
    X, y, groups = indexable(X, y, groups)
    names = read_labels(y).task_names
    params = {} if params is None else params
    grouped = groups is not None or params.get("groups") is not None
    splitter = check_multitask_cv(cv, estimator, grouped=grouped)
    split_params, fit_params = _route_params(estimator, splitter, groups, params)
    splits = list(splitter.split(X, y, **split_params))
    positions = _find_positions([test for _, test in splits], _num_samples(X))
    runs = Parallel(n_jobs=n_jobs, verbose=verbose, pre_dispatch=pre_dispatch)(
        delayed(_fit_and_predict)(
            clone(estimator), X, y, train, test, method, **fit_params
        )
        for train, test in splits
    )
    predictions, classes = zip(*runs, strict=True)
    return _join_predictions(predictions, classes, names, positions)


def _route_params(
    estimator: BaseEstimator,
    splitter: Any,
    groups: ArrayLike | None,
    params: dict[str, Any],
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return what goes to ``split`` and what goes to ``fit``."""
    if not get_config()["enable_metadata_routing"]:
        return {"groups": groups}, params
    if groups is not None:
        raise ValueError(
            "The 'groups' parameter cannot be used where metadata routing is enabled: "
            "give params={'groups': groups}."
        )
    to_split = MethodMapping().add(caller="fit", callee="split")
    to_fit = MethodMapping().add(caller="fit", callee="fit")
    router = MetadataRouter(owner="cross_val_predict")
    router.add(splitter=splitter, method_mapping=to_split)
    router.add(estimator=estimator, method_mapping=to_fit)
    routed = process_routing(router, "fit", **params)
    return routed.splitter.split, routed.estimator.fit


def _find_positions(tests: Sequence[NDArray[Any]], n_samples: int) -> NDArray[np.int64]:
    """Return where each row stands among those of all test sets."""
    rows = np.concatenate(tests)
    if not np.array_equal(np.sort(rows), np.arange(n_samples)):
        raise ValueError(
            "cross_val_predict only works for partitions: give a 'cv' in which each "
            "row is in one test set, such as MultiTaskStratifiedKFold."
        )
    return np.argsort(rows)


def _fit_and_predict(
    estimator: BaseEstimator,
    X: Any,
    y: ArrayLike,
    train: NDArray[Any],
    test: NDArray[Any],
    method: str,
    /,
    **params: Any,  # one by one, for joblib to send large ones to a cluster once
) -> tuple[Any, Any]:
    """Fit a copy; return predictions and, for probabilities, the classes."""
    X_train, y_train = _safe_split(estimator, X, y, train)
    X_test, _ = _safe_split(estimator, X, y, test, train)
    estimator.fit(X_train, y_train, **_check_method_params(X, params, train))
    prediction = getattr(estimator, method)(X_test)
    return prediction, None if method == "predict" else estimator.classes_


def _join_predictions(
    predictions: Sequence[Any],
    classes: Sequence[Any],
    names: list[Any],
    positions: NDArray[np.int64],
) -> Any:
    """Put the predictions of all folds in the order of the rows."""
    if isinstance(predictions[0], list):
        incomplete: list[Any] = []
        tasks = zip(
            zip(*predictions, strict=True), zip(*classes, strict=True), strict=True
        )
        arrays = []
        for name, (parts, fold_classes) in zip(names, tasks, strict=True):
            aligned, is_complete = _align_classes(parts, fold_classes)
            incomplete += [] if is_complete else [name]
            arrays.append(None if aligned is None else aligned[positions])
        _warn_of_lacking(incomplete)
        return arrays
    if issparse(predictions[0]):
        return sparse_vstack(predictions, format="csr")[positions]
    # A list of classes with one array of probabilities: a column for each binary task.
    if isinstance(classes[0], np.ndarray) and classes[0].ndim == 1:
        arrays, is_complete = _align_classes(predictions, classes)
        _warn_of_lacking([] if is_complete else names)
        return arrays[positions]
    return np.concatenate(predictions)[positions]


def _align_classes(parts: Sequence[Any], classes: Sequence[Any]) -> tuple[Any, bool]:
    """Return probabilities of all folds with the same columns, if each had them all."""
    if parts[0] is None:
        return None, True
    all_classes = np.unique(np.concatenate(classes))
    is_complete = all(len(fold_classes) == len(all_classes) for fold_classes in classes)
    if is_complete:
        return np.concatenate(parts), True
    arrays = []
    for part, fold_classes in zip(parts, classes, strict=True):
        probabilities = np.zeros((len(part), len(all_classes)), dtype=part.dtype)
        probabilities[:, np.searchsorted(all_classes, fold_classes)] = part
        arrays.append(probabilities)
    return np.concatenate(arrays), False


def _warn_of_lacking(names: list[Any]) -> None:
    """Warn of tasks of which some training folds lack classes."""
    if names:
        warn_user(
            "Some training folds lack classes of the tasks "
            f"{list_first([repr(name) for name in names])}, which then have "
            "probability 0: use fewer folds, or merge rare classes.",
            RuntimeWarning,
        )
