"""fit shared by the estimators: validate, encode, build, train, publish."""

import copy
from typing import Any, ClassVar, Self

import numpy as np
import torch
from numpy.random import RandomState
from numpy.typing import ArrayLike, NDArray
from sklearn.utils import check_random_state

from skmtl._core.options import Validated, fit_context
from skmtl._core.validation import check_task_weight, divide_by_largest
from skmtl._data.inputs import check_channels, check_form, validate_inputs
from skmtl._data.labels import LabelTable, read_labels
from skmtl._data.targets import Targets, TaskType
from skmtl._data.training_data import (
    ClassWeight,
    LabelCounts,
    TrainingData,
    apply_sample_weight,
    check_not_transposed,
    check_some_weight,
    count_labels,
    encode_labels,
    warn_many_classes,
)
from skmtl._estimators.fitted_attributes import (
    collect_fitted_attributes,
    is_fitted_attribute,
    set_fitted_attributes,
)
from skmtl._estimators.fitting.callbacks import make_callbacks, make_sklearn_callbacks
from skmtl._estimators.fitting.checkpointing import (
    agree_between_processes,
    check_resume,
    make_checkpoints,
)
from skmtl._estimators.fitting.distillation import attach_soft_labels, make_soft_labels
from skmtl._estimators.fitting.label_weights import make_task_labels, reweight_labels
from skmtl._estimators.fitting.net_factory import choose_n_threads, explain_memory
from skmtl._estimators.fitting.out_of_fold import (
    NEEDS_FOLDS,
    OutOfFoldPredictions,
    predict_out_of_fold,
)
from skmtl._estimators.fitting.run import TrainingRun
from skmtl._estimators.fitting.settings import (
    FitSettings,
    check_accelerator,
    resolve_processes,
)
from skmtl._estimators.fitting.splits import split_rows
from skmtl._estimators.fitting.validation_scorer import make_validation_scorer
from skmtl.encoder import Encoder
from skmtl.training import (
    MultiTaskNet,
    check_augmentation,
    use_default_modes,
    use_n_threads,
    use_seed,
    uses_own_generator_only,
    warn_of_collapse,
)

try:
    from sklearn.callback import CallbackSupportMixin
except ImportError:  # scikit-learn < 1.9 has no callbacks

    class CallbackSupportMixin:  # type: ignore[no-redef]
        """Stand-in where scikit-learn has no callbacks."""


Validation = tuple[Any, Any, Any]


class MultiTaskFit(Validated, CallbackSupportMixin):
    """The part of the estimators that fits; see `MultiTaskClassifier`."""

    callbacks: list[Any] | None
    # Types of what fit sets; there are no values before.
    n_estimators_: int
    n_tasks_: int
    n_outputs_: int
    task_names_: list[Any]
    n_features_in_: int
    feature_names_in_: NDArray[Any]
    n_iter_: int
    loss_: float
    loss_curve_: list[float]
    validation_scores_: list[float]
    best_validation_score_: float
    best_epochs_: NDArray[np.int64]
    task_weights_: NDArray[np.float64]
    net_: MultiTaskNet
    teacher_: Any
    _targets: Targets
    _oof: OutOfFoldPredictions | None
    _label_counts: LabelCounts

    _parameter_constraints: ClassVar[dict[str, Any]]

    @fit_context(prefer_skip_nested_validation=True)
    def fit(
        self,
        X: Any,
        y: ArrayLike,
        sample_weight: ArrayLike | None = None,
        *,
        X_val: Any = None,
        y_val: Any = None,
        sample_weight_val: Any = None,
        resume: object = False,
    ) -> Self:
        """Train on all tasks.

        Parameters
        ----------
        X : array-like or sparse matrix of shape (n_samples, n_features) or \
                (n_samples, channels, height, width)
            Inputs. A sparse matrix is made dense batch by batch, and a `numpy.memmap`
            is read batch by batch, as a table of `skmtl.datasets.open_table` is.
            Columns of a DataFrame may hold categories, where the encoder takes them.
            NaN and the masked entries of a masked array are missing inputs.
        y : array-like of shape (n_samples,) or (n_samples, n_tasks)
            Labels, one column per task. None, NaN, NaT, pandas' NA, masked entries and
            ``missing_label`` mark missing labels; a row without any is skipped. The
            columns of a DataFrame, or the fields of a structured array, name the tasks,
            and tables with names that come later are matched with them by name.
        sample_weight : array-like of shape (n_samples,) or (n_samples, n_tasks), \
                default=None
            Weights of rows or of single labels; columns of a DataFrame are matched with
            the tasks by name. A label of weight zero counts as missing.
        X_val : array-like or sparse matrix, default=None
            Inputs of a validation set for early stopping, instead of a part of X.
        y_val : array-like, default=None
            Labels of the validation set.
        sample_weight_val : array-like, default=None
            Weights of the validation set.
        resume : {"auto", False}, default=False
            "auto" goes on from the newest checkpoint of the same settings and data in
            the folder ``checkpoint``, and starts anew where there is none. False always
            does.

        Returns
        -------
        self : object
            The fitted estimator.

        Raises
        ------
        ValueError
            If a parameter or the data cannot be used; nothing changes then.
        DivergenceError
            If a task's loss stops being finite; the estimator is then unfitted.
        """
        continues = False
        if resume is not False or self.checkpoint is not None:
            continues = check_resume(resume, self.checkpoint)
        trains_on = self.warm_start and self.__sklearn_is_fitted__()
        valid = (X_val, y_val, sample_weight_val)
        data = (X, y, sample_weight, valid)
        return self._fit_atomically(*data, resume=trains_on, continues=continues)

    def _partial_fit(
        self,
        X: Any,
        y: ArrayLike,
        sample_weight: ArrayLike | None,
        classes: object = None,
    ) -> Self:
        """Make one pass over the data."""
        return self._fit_atomically(
            X,
            y,
            sample_weight,
            (None, None, None),
            resume=self.__sklearn_is_fitted__(),
            classes=classes,
            one_pass=True,
        )

    def _fit_atomically(self, *data: Any, resume: bool, **options: Any) -> Self:
        """Fit; where that fails, leave no half-fitted estimator behind.

        Bad input changes nothing. Once training has started, a failure leaves the
        estimator unfitted, or as it was where it was to learn on.
        """
        before = {k: v for k, v in vars(self).items() if is_fitted_attribute(k)}
        try:
            processes = resolve_processes(check_accelerator(self.accelerator))
            with processes.silence_others(), use_default_modes():

                def prepare(random_state: RandomState) -> TrainingRun:
                    return self._prepare(random_state, *data, resume=resume, **options)

                if processes.n == 1:
                    run = prepare(check_random_state(self.random_state))
                else:
                    run = agree_between_processes(self, processes, prepare)
                self._train(run, before, data, options)
        except BaseException:
            for name in [k for k in vars(self) if is_fitted_attribute(k)]:
                delattr(self, name)
            self.__dict__.update(before)
            raise
        return self

    def _prepare(
        self,
        random_state: RandomState,
        X: Any,
        y: ArrayLike,
        sample_weight: ArrayLike | None,
        valid: Validation,
        *,
        resume: bool,
        classes: object = None,
        one_pass: bool = False,
        continues: bool = False,
    ) -> TrainingRun:
        """Check everything before any training starts."""
        settings = FitSettings.from_estimator(self)
        start = copy.deepcopy(random_state)
        seed = int(random_state.randint(2**31 - 1))
        encoder = settings.encoder
        targets, data = self._read(X, y, sample_weight, resume, classes, encoder)
        settings.sharing.for_tasks(targets.names, count_labels(data))  # raises early
        settings = settings.resolve_n_estimators(
            self.n_estimators,
            data.X,
            len(data.rows),
            self.n_estimators_ if resume else None,
        )
        task_weight = self._read_task_weight(targets)
        trained = targets.active & (task_weight > 0)
        weighting = (
            self.net_.weighting
            if resume
            else settings.weighting.for_labels(make_task_labels(data, targets))
        )
        data = reweight_labels(data, weighting, targets)
        valid_data = self._read_validation(
            valid, targets, encoder, data.X.shape[1:], trained
        )
        if valid_data is not None:
            valid_data = reweight_labels(valid_data, weighting, targets)
        splits = split_rows(
            settings,
            data,
            targets,
            random_state,
            fitted=getattr(self, "_parts_of_fit", None) if resume else None,
            one_pass=one_pass,
            validated=valid_data is not None,
        )
        held_out = any(rows is not None for _, rows in splits)
        ensemble = settings.n_estimators > 1
        stops = held_out and (not ensemble or settings.early_stopping is not False)
        out_of_fold = ensemble and held_out and settings.resampling is not None
        if settings.threshold is not None and not out_of_fold:
            raise ValueError(f"The 'threshold' parameter needs {NEEDS_FOLDS}.")
        stops = stops or valid_data is not None
        scorer, sklearn_callbacks = None, []
        judged = settings.judging_parameter is not None and trained.any()
        if judged and not one_pass:
            scorer = make_validation_scorer(
                settings, targets, trained, valid_data, data, splits
            )
        callbacks = make_callbacks(
            settings, len(data.rows), stops=stops, one_pass=one_pass
        )
        if not one_pass and settings.processes.is_main:
            shown = X, y, sample_weight
            sklearn_callbacks = make_sklearn_callbacks(
                self, shown, lambda net: collect_fitted_attributes(self, net, targets)
            )
        soft_labels = None
        if settings.teacher is not None:
            soft_labels = make_soft_labels(settings.teacher, X, targets)
        return TrainingRun(
            settings=settings,
            weighting=weighting,
            seed=seed,
            start=start,
            targets=targets,
            data=data,
            categories=self._categories,
            task_weight=task_weight,
            valid=valid_data,
            splits=splits,
            callbacks=sklearn_callbacks + callbacks,
            fitted_net=self.net_ if resume else None,
            one_pass=one_pass,
            stops=stops,
            out_of_fold=out_of_fold,
            soft_labels=soft_labels,
            scorer=scorer,
            continues=continues,
        )

    def _read_task_weight(self, targets: Targets) -> NDArray[np.float64]:
        task_weight = divide_by_largest(
            check_task_weight(self.task_weight, targets.names)
        )
        if targets.active.any() and not task_weight[targets.active].any():
            raise ValueError(
                "The 'task_weight' parameter leaves no task to train: give a positive "
                "weight to a task that has more than one class."
            )
        return task_weight

    def _train(
        self,
        run: TrainingRun,
        before: dict[str, Any],
        data: tuple[Any, ...],
        options: dict[str, Any],
    ) -> None:
        """Train; what was fitted before is forgotten once nothing is refused."""
        settings = run.settings
        checkpoints, teacher, oof = None, None, None
        if self.checkpoint is not None and not run.one_pass:
            checkpoints = make_checkpoints(self, run)
        with use_seed(run.seed, settings.device) as turn:
            with explain_memory():
                net = run.build_net()
            with use_n_threads(choose_n_threads(settings.n_threads, net)):
                rows, valid_rows = run.make_training_rows(net)
                scores = run.make_validation_scores()
                choice = run.make_epoch_choice(valid_rows)
                first = rows[0] if run.is_ensemble else rows
                if net.augmentation:
                    check_augmentation(net.augmentation, first)
                if run.fitted_net is None:
                    before.clear()
                if settings.soft_loss is not None:
                    teacher = attach_soft_labels(self, run, net, rows, data, options)
                one_thread = torch.get_num_threads() == 1
                if one_thread and uses_own_generator_only(net, scores):
                    turn.end()  # others may fit beside it
                if run.targets.blocks:
                    net.train(
                        rows,
                        valid_rows,
                        1 if run.one_pass else settings.max_iter,
                        scores=scores,
                        choice=choice,
                        checkpoints=checkpoints,
                        keep_best=settings.on_interrupt == "keep",
                    )
                if run.targets.blocks and not run.one_pass:
                    warn_of_collapse(net, first)
                if run.out_of_fold:
                    oof = predict_out_of_fold(net, run, rows, choice)
        set_fitted_attributes(self, net, run, oof)
        self.__dict__.pop("teacher_", None)
        if teacher is not None:
            self.teacher_ = teacher

    def _read(
        self,
        X: Any,
        y: ArrayLike,
        sample_weight: ArrayLike | None,
        resume: bool,
        classes: Any,
        encoder: Encoder,
    ) -> tuple[Targets, TrainingData]:
        """Validate and encode the training data."""
        check_form(X)
        if y is None:
            raise ValueError(
                f"This {type(self).__name__} estimator requires y to be passed, but "
                "the target y is None."
            )
        X = self._check_X(X, encoder, reset=not resume)
        columns = read_labels(y, self.missing_label)
        check_not_transposed(columns, X.shape[0])
        if resume:
            columns = self._align_tasks(columns, self._targets)
        columns, weight = apply_sample_weight(X, columns, sample_weight)
        targets = (
            self._targets
            if resume
            else Targets(
                columns, self._infer_task_types(columns, classes), weight, classes
            )
        )
        class_weight = self._class_weight(targets)
        data = encode_labels(X, columns, weight, targets, class_weight)
        if not len(data.rows):
            raise ValueError("y has no label that counts: every entry is missing.")
        if not resume and classes is None:
            check_some_weight(data, targets)
            warn_many_classes(data, targets, getattr(self, "task_types", None))
        return targets, data

    def _read_validation(
        self,
        valid: Validation,
        targets: Targets,
        encoder: Encoder,
        shape: tuple[int, ...],
        trained: NDArray[np.bool_],
    ) -> TrainingData | None:
        X, y, sample_weight = valid
        if X is None and y is None:
            if sample_weight is not None:
                raise ValueError("sample_weight_val was given without X_val and y_val.")
            return None
        if X is None or y is None:
            raise ValueError("X_val and y_val must be given together.")
        if self.early_stopping is False:
            raise ValueError(
                "X_val and y_val are for early stopping, but early_stopping=False: set "
                "it to 'auto' or True, or leave them out."
            )
        X = self._check_X(X, encoder, reset=False, expected=shape)
        columns = read_labels(y, self.missing_label)
        check_not_transposed(columns, X.shape[0])
        columns = self._align_tasks(columns, targets, "y_val")
        columns, weight = apply_sample_weight(
            X, columns, sample_weight, "sample_weight_val"
        )
        data = encode_labels(X, columns, weight, targets, self._class_weight(targets))
        present = columns.get_mask()
        if not present[:, trained | ~trained.any()].any():
            raise ValueError(
                "y_val has no label that counts: every entry of the tasks that train "
                "is missing."
            )
        return data

    def _check_X(
        self,
        X: Any,
        encoder: Encoder,
        reset: bool,
        expected: tuple[int, ...] | None = None,
    ) -> Any:
        """Return inputs as one array of numbers, categories as codes."""
        if not reset:
            check_channels(X, expected or self.net_.module__input_shape)
        X = validate_inputs(self, X, encoder, reset)
        if not reset:
            expected = expected or self.net_.module__input_shape
            if X.shape[1:] != expected:
                raise ValueError(
                    f"X has samples of shape {X.shape[1:]}, but {type(self).__name__} "
                    f"was fitted on samples of shape {expected}."
                )
        return X

    def __sklearn_is_fitted__(self) -> bool:
        return hasattr(self, "net_")

    def _infer_task_types(
        self, columns: LabelTable, classes: object = None
    ) -> list[TaskType]:
        raise NotImplementedError

    def _class_weight(self, targets: Targets) -> ClassWeight | None:
        return None
