"""Predictions of held-out rows at the epoch that the other networks choose."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from skmtl._data.output_kinds import OutputBlock
from skmtl._data.training_data import RowIndex
from skmtl.training._batches import TrainingRows
from skmtl.training._temperature import MANY_ROWS, average_networks

#: Parts into which groups are put to fit slopes and thresholds, at most.
N_PARTS = 8
#: What a checkpoint holds of a choice.
STATE = ("n_epochs", "best", "epochs", "predictions", "latest", "samples")


class EpochChoice:
    """Predictions of held-out rows, each at an epoch chosen without its label."""

    # Rows that the same networks of an ensemble hold out form a group. The epoch of a
    # group is that with the lowest mean loss of the other networks on their held-out
    # rows, among the epochs that networks of the group have trained; a network that has
    # stopped counts with its last loss. So labels of a group decide nothing about its
    # predictions, except that a network which has stopped by them has no later epochs.
    # Only the predictions of the best epoch so far are kept, and for each chosen epoch
    # those of a sample of all rows, from which slopes and thresholds are fitted.
    # group (n_samples,): Group of each sample of the source; those that no network
    # holds out have one.
    # members (n_groups, n_networks): Which networks hold out each group.
    # part (n_groups,): Part of each group.
    # epochs (n_groups,): Chosen epoch of each group, from 1 on; zero before there is
    # any.

    def __init__(self, rows: Sequence[TrainingRows]) -> None:
        self.parts = rows
        self.rows = [r.get_sample_index().cpu().numpy() for r in rows]
        self.group, self.members = group_rows(self.rows, rows[0].source.n_samples)
        n_groups, n_networks = self.members.shape
        self.part = np.arange(n_groups) % min(n_networks, N_PARTS)
        others = (~self.members).astype(float)
        self._others = others / np.maximum(others.sum(axis=1, keepdims=True), 1)
        self._voiced = others.any(axis=1) & self.members.any(axis=1)
        step = -(-sum(map(len, self.rows)) // MANY_ROWS)
        self._sampled = [
            np.flatnonzero(network_rows % step == 0) for network_rows in self.rows
        ]
        self.n_epochs = 0
        self.best = np.full(n_groups, np.inf)
        self.epochs = np.zeros(n_groups, dtype=np.int64)
        self.predictions: list[Tensor | None] = [None] * n_networks
        self.latest: list[Tensor | None] = [None] * n_networks
        self.samples: dict[int, list[Tensor | None]] = {}

    def update(
        self, outputs: Mapping[int, Tensor], losses: NDArray[np.float64] | None
    ) -> None:
        """Look at the predictions of an epoch."""
        # outputs of shape (n_rows, n_outputs), losses of shape (n_networks,).
        self.n_epochs += 1
        for i, Z in outputs.items():
            index = torch.from_numpy(self._sampled[i]).to(Z.device)
            self.latest[i] = Z.index_select(0, index)
        better = np.asarray(self.members[:, list(outputs)].any(axis=1), dtype=bool)
        if losses is not None:
            means = self._others @ np.nan_to_num(losses)  # NaN: it has none to score
            better &= self._voiced & (means < self.best)
            self.best[better] = means[better]
        if not better.any():
            return
        self.epochs[better] = self.n_epochs
        self.samples[self.n_epochs] = list(self.latest)
        chosen = set(self.epochs.tolist())
        self.samples = {e: s for e, s in self.samples.items() if e in chosen}
        for i, Z in outputs.items():
            self._take(i, Z[: len(self.rows[i])], better)

    def _take(self, i: int, Z: Tensor, better: NDArray[np.bool_]) -> None:
        """Keep what a network predicts for groups whose epoch is the present one."""
        in_groups, prediction = better[self.members[:, i]], self.predictions[i]
        if not in_groups.any():
            return
        if prediction is None:
            prediction = self.predictions[i] = torch.full_like(Z, torch.nan)
        if in_groups.all():
            prediction.copy_(Z)
            return
        index = np.flatnonzero(better[self.group[self.rows[i]]])
        place = torch.from_numpy(index).to(Z.device)
        prediction.index_copy_(0, place, Z.index_select(0, place))

    def outputs(self, blocks: Sequence[OutputBlock]) -> Tensor:
        """Return the predictions at the chosen epochs, and forget them."""
        # Returns (n_samples, n_outputs).
        n_samples, values = len(self.group), self.predictions
        self.predictions = [None] * len(values)
        Z = average_rows(values, self.rows, n_samples, blocks)
        Z[torch.from_numpy(self.epochs[self.group] == 0)] = torch.nan
        return Z

    def sample(
        self, epoch: int, blocks: Sequence[OutputBlock]
    ) -> tuple[NDArray[np.int64], Tensor]:
        """Return the predictions of an epoch for a sample of all held-out rows."""
        # Returns rows of shape (n_sampled,), outputs of shape (n_sampled, n_outputs).
        sampled_rows = [r[s] for r, s in zip(self.rows, self._sampled, strict=True)]
        rows = np.unique(np.concatenate(sampled_rows)).astype(np.int64)
        places = [np.searchsorted(rows, r) for r in sampled_rows]
        return rows, average_rows(self.samples[epoch], places, len(rows), blocks)

    def state_dict(self) -> dict[str, Any]:
        """Return what epochs have changed."""
        return {name: getattr(self, name) for name in STATE}

    def accepts_state(self, state: dict[str, Any], n_outputs: int) -> bool:
        """Return whether a state is one of a choice for the same rows."""
        best, epochs, n_epochs = (state[k] for k in ("best", "epochs", "n_epochs"))
        counted = type(n_epochs) is int and epochs.dtype == np.int64
        same = (best.shape, best.dtype) == (self.best.shape, self.best.dtype)
        if not (counted and same and epochs.shape == self.epochs.shape):
            return False
        chosen = set(epochs[epochs > 0].tolist())
        sizes = [len(sampled) for sampled in self._sampled]
        samples = [state["latest"], *state["samples"].values()]
        return (
            epochs.min() >= 0
            and epochs.max() <= n_epochs
            and chosen <= state["samples"].keys()
            and _are_rows(state["predictions"], [len(r) for r in self.rows], n_outputs)
            and all(_are_rows(sample, sizes, n_outputs) for sample in samples)
        )

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on where another choice was."""
        for name in STATE:
            setattr(self, name, state[name])


def _are_rows(values: Any, sizes: list[int], n_outputs: int) -> bool:
    """Return whether there are predictions of each network for its rows, or none."""
    return len(values) == len(sizes) and all(
        Z is None or (Z.shape == (size, n_outputs) and Z.is_floating_point())
        for Z, size in zip(values, sizes, strict=True)
    )


def group_rows(
    rows: Sequence[RowIndex], n_samples: int
) -> tuple[NDArray[np.int32], NDArray[np.bool_]]:
    """Group samples by the sets of rows that they belong to."""
    # Returns group of shape (n_samples,), members of shape (n_groups, n_sets).
    group = np.zeros(n_samples, dtype=np.int32)
    for network_rows in rows:
        group *= 2
        group[network_rows] += 1
        occurs = np.bincount(group) > 0
        group = (occurs.cumsum(dtype=np.int32) - 1)[group]
    members = np.zeros((int(group.max()) + 1, len(rows)), dtype=bool)
    for i, network_rows in enumerate(rows):
        members[group[network_rows], i] = True
    return group, members


def average_rows(
    values: Sequence[Tensor | None],
    rows: Sequence[NDArray[Any]],
    n_samples: int,
    blocks: Sequence[OutputBlock],
) -> Tensor:
    """Average what several networks predict for some samples each."""
    # values lists of shape (n_rows, n_outputs), rows lists of shape (n_rows,); returns
    # (n_samples, n_outputs).
    pairs = [(Z, r) for Z, r in zip(values, rows, strict=True) if Z is not None]
    first = pairs[0][0]
    outputs = torch.full((n_samples, first.shape[1]), torch.nan, dtype=first.dtype)
    counts = np.zeros(n_samples, dtype=np.int32)
    for Z, r in pairs:
        counts[r] += 1
        outputs[torch.from_numpy(r).long()] = Z.cpu()
    if counts.max(initial=0) < 2:
        return outputs
    for start in range(0, n_samples, MANY_ROWS):
        part = slice(start, start + MANY_ROWS)
        outputs[part] = _average(pairs, part, outputs[part], blocks)
    return outputs


def _average(
    pairs: list[tuple[Tensor, NDArray[Any]]],
    part: slice,
    like: Tensor,
    blocks: Sequence[OutputBlock],
) -> Tensor:
    network_outputs = like.new_zeros(len(pairs), *like.shape)
    share = like.new_zeros(network_outputs.shape[:2])
    for i, (Z, r) in enumerate(pairs):
        index = np.flatnonzero((r >= part.start) & (r < part.stop))
        place = torch.from_numpy(r[index] - part.start).long()
        network_outputs[i, place] = Z[torch.from_numpy(index).to(Z.device)].cpu()
        share[i, place] = 1.0
    return average_networks(network_outputs, blocks, share / share.sum(dim=0))
