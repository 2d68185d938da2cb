"""predict and score shared by the estimators, and what they tell of the model."""

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from numbers import Integral
from os import PathLike
from typing import TYPE_CHECKING, Any, Self

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.utils.validation import check_is_fitted
from skorch.history import History
from torch import Tensor, nn

from skmtl._core.atomic_file import replace_file, resolve_target
from skmtl._core.dataframes import make_frame
from skmtl._core.options import check_path
from skmtl._core.validation import import_pandas
from skmtl._data.labels import read_labels
from skmtl._data.streamed_table import StreamedTable
from skmtl._data.training_data import apply_sample_weight, check_not_transposed
from skmtl._estimators.conformal import (
    CrossConformal,
    check_coverage,
    predict_fold_sets,
)
from skmtl._estimators.fit import MultiTaskFit
from skmtl._estimators.fitting.net_factory import choose_n_threads
from skmtl._estimators.fitting.out_of_fold import NEEDS_FOLDS, OutOfFoldPredictions
from skmtl._estimators.parameter_counts import count_parameters
from skmtl._estimators.persistence import (
    MARK,
    InferenceModule,
    TaskOutput,
    is_pickling,
    mark_pickling,
    pack_portable_state,
    unpack_portable_state,
)
from skmtl._estimators.report import report
from skmtl._estimators.scores import task_scores
from skmtl._estimators.task_view import (
    TaskClassifier,
    TaskRegressor,
    make_single_task_settings,
)
from skmtl._estimators.thresholds import predict_codes
from skmtl.encoder import ENCODER, Encoder
from skmtl.relation import RELATION
from skmtl.sharing import SHARING
from skmtl.training import (
    AUGMENTATION,
    InputSource,
    has_foreign_modules,
    use_default_dtype,
    use_default_modes,
    use_n_threads,
)
from skmtl.weighting import WEIGHTING

if TYPE_CHECKING:
    from skmtl.inspection import SharingGain

REGISTRIES: dict[str, dict[str, Any]] = {
    "sharing": SHARING,
    "encoder": ENCODER,
    "weighting": WEIGHTING,
    "relation": RELATION,
    "augmentation": AUGMENTATION,
}


class MultiTaskBase(MultiTaskFit):
    """Base class of the estimators; see `MultiTaskClassifier`."""

    if TYPE_CHECKING:  # scikit-learn has these without types

        def get_params(self, deep: bool = True) -> dict[str, Any]: ...
        def set_fit_request(self, **requests: bool | str | None) -> Self: ...
        def set_partial_fit_request(self, **requests: bool | str | None) -> Self: ...
        def set_score_request(self, **requests: bool | str | None) -> Self: ...

    def __reduce_ex__(self, protocol: Any) -> Any:
        with mark_pickling():
            return super().__reduce_ex__(protocol)

    def __getstate__(self) -> Any:
        if is_pickling():  # processes are those of here and now
            return {**super().__getstate__(), "accelerator": None}
        return pack_portable_state(self)

    def __setstate__(self, state: Any) -> None:
        if MARK in state:
            self.__dict__.update(unpack_portable_state(type(self), state))
        else:
            super().__setstate__(state)  # type: ignore[misc]

    def set_params(self, **params: Any) -> Self:
        """Set the parameters of this estimator and of its strategies.

        Parameters
        ----------
        **params : dict
            Parameters by name. A nested one, such as ``sharing__strength``, turns a
            strategy that is named by a string into the object that holds its settings.

        Returns
        -------
        self : object
            The estimator.

        Raises
        ------
        ValueError
            If there is no such parameter or no strategy of that name.
        """
        for family in {name.partition("__")[0] for name in params if "__" in name}:
            value = params.get(family, getattr(self, family, None))
            registry = REGISTRIES.get(family)
            if registry is not None and value is None:
                nested = next(n for n in params if n.startswith(f"{family}__"))
                raise ValueError(
                    f"Invalid parameter {nested!r} for {type(self).__name__}: its "
                    f"'{family}' is None, which has no settings. Set it first, for "
                    f"example {family}={next(iter(sorted(registry)))!r}."
                )
            if registry is None or not isinstance(value, str):
                continue
            if value not in registry:
                raise ValueError(
                    f"The '{family}' parameter of {type(self).__name__} must be one of "
                    f"{sorted(registry)} to have settings. Got {value!r}."
                )
            params[family] = registry[value]()
        return super().set_params(**params)  # type: ignore[no-any-return, misc]

    @property
    def module_(self) -> nn.Module:
        """The trained `torch.nn.Module`."""
        check_is_fitted(self)
        return self.net_.module_  # type: ignore[no-any-return]

    @property
    def weighting_(self) -> nn.Module:
        """What has weighed the tasks, a `torch.nn.Module` with its state."""
        check_is_fitted(self)
        return self.net_.weighting_  # type: ignore[no-any-return]

    @property
    def history_(self) -> History:
        """The history of skorch: one record per epoch."""
        check_is_fitted(self)
        return self.net_.history

    def _forward(self, X: Any) -> Tensor:
        """Return the packed outputs of all tasks, of shape (n_samples, n_outputs)."""
        check_is_fitted(self)
        with self._open_source(X) as (source, places):
            outputs = self.net_.outputs(source)
        return outputs if places is None else outputs[torch.from_numpy(places)]

    @contextmanager
    def _open_source(
        self, X: Any
    ) -> Iterator[tuple[InputSource, NDArray[np.intp] | None]]:
        """Return inputs as the net reads them, and where samples are if reordered.

        Whatever the net computes is computed in this context.
        """
        net = self.net_
        X = self._check_X(X, net.module__encoder, reset=False)
        dtype, stage = net.module_.input_dtype, net.module_.inputs
        device = next(net.module_.parameters()).device
        with (
            use_default_modes(),
            use_n_threads(choose_n_threads(self.n_threads, net)),
            self._choose_dtype(),
        ):
            if not isinstance(X, StreamedTable):
                yield InputSource(X, dtype, device, False, stage), None
                return
            order = X.sort_by_file(np.arange(len(X)))
            source = InputSource(X[order], dtype, device, resident=False)
            yield source, order.argsort()

    def _choose_dtype(self) -> AbstractContextManager[None]:
        """Give a user's modules the default type of tensors that fit gives them."""
        usual = torch.get_default_dtype() == torch.float32
        if usual or not has_foreign_modules(self.net_.module_):
            return nullcontext()
        return use_default_dtype()

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

    @property
    def relation_(self) -> Any:
        """What the relation knows of pairs of tasks, of shape (n_tasks, n_tasks).

        A DataFrame where tasks have names; the mean over members.
        """
        check_is_fitted(self)
        found = self.net_.module_.relation_matrix()
        if found is None:
            raise AttributeError(
                "relation_ needs a relation that tells of pairs of tasks, such as "
                f"relation='graph'. Got relation={self.relation!r}."
            )
        matrix, names = found.double().cpu().numpy(), self.task_names_
        if not self._targets.named:
            return matrix
        return import_pandas("relation_").DataFrame(matrix, names, names)

    @property
    def groups_(self) -> list[list[Any]]:
        """The groups that ``sharing="auto_grouped"`` has found, as names of tasks."""
        check_is_fitted(self)
        groups = getattr(self.net_.module__sharing, "groups_", None)
        if groups is None:
            raise AttributeError(
                "groups_ needs sharing='auto_grouped' and at least 2 tasks. Got "
                f"sharing={self.sharing!r} and {self.n_tasks_} tasks."
            )
        return [[self.task_names_[task] for task in group] for group in groups]

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
            with self._open_source(X) as (source, places):
                net = self.net_
                regions_of_tasks = predict_fold_sets(
                    net, targets, oof, source, coverage
                )
            if places is not None:
                regions_of_tasks = [region[places] for region in regions_of_tasks]
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

    def task_estimator(self, task: Any) -> TaskClassifier | TaskRegressor:
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
        estimator = make_single_task_settings(self, number)
        return view(estimator, self.task_names_[number])._bound(self, number)

    def prediction_module(self, task: Any = 0) -> nn.Module:
        """Return a `torch.nn.Module` that predicts one task as this estimator does.

        Tools that explain networks, such as captum and shap, can use it. ``module_`` of
        an ensemble returns the outputs of each network; this module averages and
        calibrates them, as ``predict_proba`` does.

        Parameters
        ----------
        task : str or int, default=0
            A name in ``task_names_``, or the index of the task.

        Returns
        -------
        torch.nn.Module
            On the CPU, with copies of the weights. It maps a tensor of inputs, of shape
            (n_samples, n_features) or that of images, to probabilities of shape
            (n_samples, n_classes), or to values of shape (n_samples, 1) for regression.
            Columns of categories hold codes: the position of the category among those
            of fit in sorted order, from 1; 0 for an unknown one, NaN for a missing one.

        Examples
        --------
        >>> import torch
        >>> from sklearn.datasets import load_iris
        >>> from skmtl import MultiTaskClassifier
        >>> X, y = load_iris(return_X_y=True)
        >>> est = MultiTaskClassifier(max_iter=5, random_state=0).fit(X, y)
        >>> module = est.prediction_module()
        >>> module(torch.from_numpy(X[:1])).argmax(dim=1)
        tensor([0])
        """
        check_is_fitted(self)
        number, net = self._resolve_task(task), self.net_
        with use_default_modes():
            served = InferenceModule(net, self._targets, net.dtype)
            return TaskOutput(served, number).eval()

    def score(self, X: Any, y: Any, sample_weight: Any = None) -> float:
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
        self, X: Any, y: Any, sample_weight: Any = None
    ) -> NDArray[np.float64]:
        """Return each task's accuracy or R², NaN where y has too few labels."""
        outputs = self._forward(X)
        columns = read_labels(y, self.missing_label)
        check_not_transposed(columns, len(outputs))
        columns = self._align_tasks(columns, self._targets)
        columns, weight = apply_sample_weight(outputs, columns, sample_weight)
        codes = self._predict_codes(outputs)
        return task_scores(self._targets, outputs, codes, columns, weight)

    def sharing_summary(self) -> Any:
        """Return how many parameters the tasks share, layer by layer.

        Returns
        -------
        pandas.DataFrame
            Numbers of parameters, of all members together. The rows are the layers of
            the encoder ("layer 1", "layer 2", …; over all its copies), what the sharing
            strategy adds to it, by name, "relation", "heads", "coupling" and "total".
            The columns are

            - "shared": parameters that several tasks use, as those of a relation or a
              coupling of outputs do;
            - "per_task": parameters that belong to one task, those of all tasks
              together;
            - "total": the two together;
            - "separate": parameters that one network per task, each with the same
              encoder, would have.

        Examples
        --------
        >>> from sklearn.datasets import load_linnerud
        >>> from skmtl import MultiTaskRegressor
        >>> X, Y = load_linnerud(return_X_y=True)
        >>> MultiTaskRegressor(n_estimators=1, max_iter=1).fit(X, Y).sharing_summary()
                 shared  per_task  total  separate
        layer 1    2347         0   2347      7041
        layer 2   65792         0  65792    197376
        heads         0       771    771       771
        total     68139       771  68910    205188
        """
        pd = import_pandas("sharing_summary")
        check_is_fitted(self)
        columns = ["shared", "per_task", "total", "separate"]
        counts = count_parameters(self.net_)
        return pd.DataFrame.from_dict(counts, orient="index", columns=columns)

    def report_html(
        self,
        path: str | PathLike[str],
        X: Any = None,
        y: Any = None,
        *,
        gain: "SharingGain | None" = None,
    ) -> None:
        """Write a page that tells all about this estimator.

        One HTML file that needs no other: settings, labels of each task, scores, losses
        and weights by epoch, relations between tasks and what sharing has gained.

        Parameters
        ----------
        path : str or path-like
            The file to write.
        X : array-like or sparse matrix of shape (n_samples, ...), default=None
            Inputs to score on, such as training has not seen.
        y : array-like of shape (n_samples,) or (n_samples, n_tasks), default=None
            Their labels.
        gain : SharingGain, default=None
            What `skmtl.inspection.sharing_gain` has found for this estimator.

        Raises
        ------
        ValueError
            If only one of X and y is given, or the gain is that of other tasks.
        OSError
            If the file cannot be written; one that exists stays as it is.
        """
        check_is_fitted(self)
        check_path(path)
        resolve_target(path)
        page = report(self, X, y, gain).encode("utf-8", "backslashreplace")
        with replace_file(path) as temporary:
            temporary.write_bytes(page)

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.sparse = True
        encoder = self.encoder
        if isinstance(encoder, str) and encoder in ENCODER:
            encoder = ENCODER[encoder]()
        tags.input_tags.allow_nan = isinstance(encoder, Encoder) and encoder.allow_nan
        tags.target_tags.multi_output = True
        return tags

    def _resolve_task(self, task: Any) -> int:
        if task in self.task_names_:
            return int(self.task_names_.index(task))
        if isinstance(task, Integral) and -self.n_tasks_ <= int(task) < self.n_tasks_:
            return int(task) % self.n_tasks_
        raise ValueError(
            f"There is no task {task!r}. The tasks are {self.task_names_}: give one of "
            f"them, or a number below {self.n_tasks_}."
        )
