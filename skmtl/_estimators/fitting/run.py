"""A fit whose parameters and data are checked, and what it builds."""

from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from skmtl._core.validation import count_rows, divide_by_largest
from skmtl._data.categories import CategoryEncoder
from skmtl._data.streamed_table import StreamedTable
from skmtl._data.targets import Targets
from skmtl._data.training_data import (
    RowIndex,
    TrainingData,
    compute_prior_outputs,
    sum_row_weights,
)
from skmtl._estimators.fitting.label_weights import (
    SamplingWeights,
    apply_sampling_weights,
)
from skmtl._estimators.fitting.net_factory import (
    choose_n_threads,
    make_net,
    make_resumed_net,
)
from skmtl._estimators.fitting.settings import FitSettings
from skmtl._estimators.fitting.splits import Split
from skmtl._estimators.fitting.validation_scorer import ValidationScorer
from skmtl.encoder import TrainingInputs
from skmtl.relation import Relation, TaskTable
from skmtl.sharing import Hard, Sharing
from skmtl.training import (
    SINGLE_PROCESS,
    EpochChoice,
    InputSource,
    Lookahead,
    MultiTaskNet,
    TrainingRows,
    ValidationScores,
    pack_targets,
    use_n_threads,
    use_seed,
)
from skmtl.weighting import Weighting


@dataclass(frozen=True)
class TrainingRun:
    """A fit whose parameters and data are checked."""

    settings: FitSettings
    weighting: Weighting  # After its look at the labels.
    seed: int  # Of everything random in the fit.
    start: np.random.RandomState  # The source of random choices before the first.
    targets: Targets
    data: TrainingData
    categories: CategoryEncoder | None  # Of columns of X.
    task_weight: NDArray[np.float64]  # (n_tasks,): Fixed weights of the tasks.
    valid: TrainingData | None  # A validation set.
    splits: list[Split]  # Rows to train on and to hold out, of each network.
    callbacks: list[Any]
    fitted_net: MultiTaskNet | None  # The net to train on.
    one_pass: bool
    stops: bool  # Whether networks are stopped by held-out rows.
    out_of_fold: bool  # Whether these rows make out-of-fold predictions.
    soft_labels: Tensor | None  # (1, n_samples, n_outputs): Those of a given teacher.
    scorer: ValidationScorer | None  # None where the mean loss decides.
    continues: bool  # Whether to go on from a checkpoint, where there is one.

    @property
    def is_ensemble(self) -> bool:
        """Whether several networks train."""
        return self.settings.n_estimators > 1

    def build_net(self) -> MultiTaskNet:
        """Return the net to train; draws from torch's random state."""
        settings, data, weight = self.settings, self.data, self.task_weight
        if self.fitted_net is not None:
            return make_resumed_net(
                self.fitted_net, settings, data, weight, self.callbacks
            )
        sharing, relation = self._resolve_sharing(), self._resolve_relation()
        settings = replace(settings, sharing=sharing, relation=relation)
        drawn = (
            data
            if self._row_odds is None
            else apply_sampling_weights(data, self._row_odds)
        )
        prior = compute_prior_outputs(drawn, self.targets)
        priors = None
        if self.is_ensemble:
            rows = [data.rows[train] for train, _ in self.splits]
            priors = [
                compute_prior_outputs(select_rows(drawn, member_rows), self.targets)
                for member_rows in rows
            ]
        return make_net(
            settings,
            self.weighting,
            data,
            self._make_training_inputs(),
            self.targets,
            prior,
            priors,
            weight,
            self.callbacks,
        )

    def _resolve_sharing(self) -> Sharing:
        """Return the sharing after its look at how tasks affect each other."""
        sharing = self.settings.sharing
        looks = sharing.scout_epochs and self.targets.n_tasks > 1
        if not looks or not self.targets.blocks:
            return sharing
        look = Lookahead()
        settings = replace(
            self.settings,
            sharing=Hard(),
            relation=None,
            augmentation=(),
            n_estimators=1,
            backend=None,  # a few epochs are not worth it
            processes=SINGLE_PROCESS,  # looks are at whole batches
        )
        splits = self.splits
        if self.is_ensemble:
            splits = [(np.arange(len(self.data.rows)), None)]
        scout = replace(
            self, settings=settings, splits=splits, valid=None, callbacks=[look]
        )
        with use_seed(self.seed, self.settings.device):  # what comes after starts anew
            net = scout.build_net()
            if not list(net.module_.shared_parameters()):  # no encoder
                return sharing
            with use_n_threads(choose_n_threads(settings.n_threads, net)):
                net.train(scout.make_training_rows(net)[0], None, sharing.scout_epochs)
        return sharing.for_affinity(
            self.settings.processes.broadcast_object(look.affinity)
        )

    def _resolve_relation(self) -> Relation | None:
        """Return the relation after its look at the training labels."""
        if self.settings.relation is None:
            return None
        names, classes = self.targets.names, self.targets.classes
        rows, weight = self._training_rows, self.data.given_weight
        labels = [task[rows] for task in self.data.labels]
        weight = None if weight is None else weight[rows]
        table = TaskTable(names, classes, labels, weight)
        return self.settings.relation.for_tasks(table)

    @cached_property
    def _training_rows(self) -> RowIndex:
        rows = self.data.rows
        used = np.zeros(len(rows), dtype=bool)
        for train, _ in self.splits:  # together, crossfitted members train on all rows
            used[train] = True
        return rows if used.all() else rows[used]

    @cached_property
    def _odds(self) -> SamplingWeights | None:
        """How often rows are drawn; None where each epoch has every row once."""
        sampling, targets = self.settings.sampling, self.targets
        if sampling is None:
            return None
        trained = targets.active & (self.task_weight > 0)
        return SamplingWeights(
            self.data, self._training_rows, targets.n_classes, sampling, trained
        )

    @cached_property
    def _row_odds(self) -> NDArray[np.float64] | None:
        return None if self._odds is None else self._odds.from_labels(self.data)

    def _make_training_inputs(self) -> TrainingInputs:
        data, rows, categories = self.data, self._training_rows, self.categories
        if isinstance(data.X, StreamedTable):
            rows = data.X.sort_by_file(rows)
        weight = sum_row_weights(data, rows)
        if weight is not None and weight.any():  # class weights may leave some at zero
            rows, weight = rows[weight > 0], count_rows(weight[weight > 0])
        else:
            weight = None
        sizes: tuple[int, ...] = ()
        names: dict[int, Any] = {}
        if categories is not None:
            sizes = categories.count_categories(data.X.shape[1])
            names = dict(zip(categories.columns, categories.names, strict=True))
        only_regression = self.targets.only_regression
        return TrainingInputs(data.X, rows, weight, sizes, names, only_regression)

    def make_training_rows(self, net: MultiTaskNet) -> tuple[Any, Any]:
        """Return the rows to train on and to validate on, as the net reads them."""
        rows, valid = self._pack_labels(self.data, net), None
        if self.is_ensemble:
            return self._make_rows_of_members(net, rows)
        train, held_out = self.splits[0]
        if self.valid is not None:
            valid = self._pack_labels(self.valid, net)
        elif held_out is not None:
            rows, valid = rows.select(train), rows.select(held_out)
        if self._odds is not None:
            self._draw(self._odds, rows, valid, net)
        return rows, valid

    def _make_rows_of_members(
        self, net: MultiTaskNet, rows: TrainingRows
    ) -> tuple[list[TrainingRows], list[TrainingRows] | None]:
        trains = [rows.select(train) for train, _ in self.splits]
        valid: list[TrainingRows] | None = None
        if self.valid is not None:
            valid = [self._pack_labels(self.valid, net)] * len(trains)
        elif self.stops:
            valid = [
                rows.select(held_out)
                for _, held_out in self.splits
                if held_out is not None
            ]
        if self._odds is not None:
            for i, member_rows in enumerate(
                trains
            ):  # what is held out has one set of labels
                self._draw(
                    self._odds, member_rows, valid[0] if valid and not i else None, net
                )
        return trains, valid or None

    def attach_soft_labels(
        self, rows: TrainingRows | list[TrainingRows], soft: Tensor, net: MultiTaskNet
    ) -> None:
        """Give soft labels to the rows to train on."""
        # soft of shape (n_teachers, n_samples, n_outputs).
        data = replace(self.data, weight=self.data.given_weight)
        n_samples = soft.shape[1]
        weight = sum_row_weights(data, np.arange(n_samples))
        weight = np.ones(n_samples) if weight is None else divide_by_largest(weight)
        S, w = (
            values.to(self.settings.device, net.dtype)
            for values in (soft, torch.from_numpy(weight).unsqueeze(1))
        )
        for i, network_rows in enumerate(rows if isinstance(rows, list) else [rows]):
            network_rows.soft, network_rows.teacher = (S, w), i % len(S)

    def make_validation_scores(self) -> ValidationScores | None:
        """Return what scores held-out rows of the net or its members."""
        if self.scorer is None:
            return None
        n_networks = self.settings.n_estimators
        return ValidationScores(self.scorer, n_networks, self.targets.n_tasks)

    def make_epoch_choice(self, checks: Any) -> EpochChoice | None:
        """Return what keeps predictions of rows by which members stop, if they do."""
        stop_by_own = self.out_of_fold and self.stops and self.valid is None
        return EpochChoice(checks) if stop_by_own and checks else None

    def make_held_out_rows(self, rows: list[TrainingRows]) -> list[TrainingRows] | None:
        """Return the rows that each member has not seen; None where there are none."""
        if not self.out_of_fold:
            return None
        source, targets, of = rows[0].source, rows[0].targets, self.data.rows
        held_out = [held_out for _, held_out in self.splits if held_out is not None]
        return [TrainingRows(source, targets, of[positions]) for positions in held_out]

    def _draw(
        self,
        odds: SamplingWeights,
        rows: TrainingRows,
        valid: TrainingRows | None,
        net: MultiTaskNet,
    ) -> None:
        """Give rows their odds, and weigh those to validate on by theirs."""
        of_rows = torch.from_numpy(self._row_odds)
        rows.odds = of_rows if rows.index is None else of_rows[rows.index]
        if valid is None:
            return
        if self.valid is not None:
            of_rows = torch.from_numpy(odds.from_labels(self.valid))
        factors = of_rows[:, None].to(self.settings.device, net.dtype)
        valid.targets = [
            (y, factors.expand_as(y) if w is None else w * factors)
            for y, w in valid.targets
        ]

    def _pack_labels(self, data: TrainingData, net: MultiTaskNet) -> TrainingRows:
        device = self.settings.device
        packed = pack_targets(
            self.targets.blocks, data.labels, data.weight, net.dtype, device
        )
        stage = None if self.settings.augmentation else net.module_.inputs
        source = InputSource(data.X, net.module_.input_dtype, device, stage=stage)
        all_labelled = len(data.rows) == data.X.shape[0]
        return TrainingRows(source, packed, None if all_labelled else data.rows)


def select_rows(data: TrainingData, rows: RowIndex) -> TrainingData:
    """Return labels and weights of some rows only, for what looks at no inputs."""
    weight = None if data.weight is None else data.weight[rows]
    labels = [task[rows] for task in data.labels]
    return replace(data, labels=labels, weight=weight, rows=np.arange(len(rows)))
