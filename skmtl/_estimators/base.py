"""predict and score shared by the estimators, and what they tell of the model."""

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from os import PathLike
from typing import TYPE_CHECKING, Any, Self

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from sklearn.utils.validation import check_is_fitted
from skorch.history import History
from torch import Tensor, nn

from skmtl._core.atomic_file import replace_file, resolve_target
from skmtl._core.options import check_path
from skmtl._core.validation import import_pandas
from skmtl._data.streamed_table import StreamedTable
from skmtl._estimators.conformal import (
    predict_fold_sets,
)
from skmtl._estimators.fit import MultiTaskFit
from skmtl._estimators.fitting.net_factory import choose_n_threads
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
from skmtl._estimators.prediction import MultiTaskPrediction
from skmtl._estimators.report import report
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


class MultiTaskBase(MultiTaskPrediction, MultiTaskFit):
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

    def _predict_fold_sets(self, X: Any, coverage: float) -> list[NDArray[Any]]:
        """Return sets of classes, each fold's scores compared with its own networks."""
        assert self._oof is not None  # or there are no folds
        with self._open_source(X) as (source, places):
            sets = predict_fold_sets(
                self.net_, self._targets, self._oof, source, coverage
            )
        return sets if places is None else [part[places] for part in sets]

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

    def prediction_module(self, task: object = 0) -> nn.Module:
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
        y: ArrayLike | None = None,
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
