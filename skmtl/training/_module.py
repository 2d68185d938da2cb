"""The whole network: sharing, relation and packed heads."""

from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from skmtl._core.layers import detach_in_inference
from skmtl._data.output_kinds import OutputBlock
from skmtl.encoder import Encoder, InputStage
from skmtl.encoder._sparse import DIM, SparseInputs
from skmtl.relation import Relation, RelationModule
from skmtl.sharing import MixtureModule, Sharing
from skmtl.sharing._hard import HardModule
from skmtl.training._torch_state import use_default_modes


class ForwardPass(NamedTuple):
    """A forward pass, with what is needed to go back task by task."""

    outputs: Tensor  # (n, n_outputs): Packed outputs.
    shared: Tensor | None  # (n, ...): Features that tasks share.
    # Whether there is nothing but heads, perhaps after a mixture, between the shared
    # features and the outputs.
    heads_only: bool
    # (n, n_tasks, n_mixed) or (n_tasks, n_mixed): Weights of that mixture.
    mixing: Tensor | None


class ModuleWithInputs(nn.Module):
    """Base class of what has ``heads``, and ``inputs`` that raw inputs go through."""

    inputs: InputStage | None

    def apply_inputs(self, X: Tensor) -> Tensor:
        """Return raw inputs as the networks read them."""
        return X if self.inputs is None else self.inputs(X)  # type: ignore[no-any-return]

    @property
    def code_columns(self) -> Tensor | None:
        """Columns of the raw inputs that hold codes of categories, if any do."""
        return None if self.inputs is None else self.inputs.code_columns

    @property
    def input_dtype(self) -> torch.dtype:
        """Type that inputs must have."""
        if self.inputs is not None and self.inputs.needs_float64:
            return torch.float64
        heads: Any = self.heads
        return heads.weight.dtype  # type: ignore[no-any-return]


class MultiTaskModule(ModuleWithInputs):
    """Maps a batch of inputs to the packed outputs of all tasks."""

    # prior (n_outputs,): Outputs before anything is learned from the inputs.

    def __init__(
        self,
        sharing: Sharing,
        encoder: Encoder,
        relation: Relation | None,
        input_shape: tuple[int, ...],
        n_tasks: int,
        blocks: Sequence[OutputBlock],
        prior: NDArray[np.float64],
        task_names: Sequence[Any] | None = None,
        n_labels: Sequence[int] | None = None,
        dtype: torch.dtype = torch.float32,
    ) -> None:
        super().__init__()
        self.n_tasks = n_tasks
        sharing = sharing.for_tasks(
            list(range(n_tasks)) if task_names is None else task_names,
            [1] * n_tasks if n_labels is None else n_labels,
        )
        inputs = encoder.input_stage()
        input_shape = input_shape if inputs is None else inputs.shape
        n_sparse = 0 if inputs is None else inputs.n_sparse
        if n_sparse:
            input_shape = (input_shape[0] + DIM,)
        #: Shape of one sample as encoders read it.
        self.encoded_shape = input_shape
        self.sharing = sharing.build(encoder, input_shape, n_tasks)
        width = self.sharing.width
        self.heads = Heads(blocks, n_tasks, width, prior)
        self.sparse: SparseInputs | None = None
        if n_sparse:
            sizes = n_sparse, self.heads.n_outputs, self.sharing.n_separate
            self.sparse = SparseInputs(input_shape[0] - DIM, *sizes)
        self.relation = None
        if relation is not None:
            args = self.heads.task_of_output, self.sharing.same_features
            self.relation = relation.for_network(*args).build(n_tasks, width)
        self.coupling = self.sharing.coupling(blocks)
        self.to(dtype)
        # Only the type that inputs will have is to round what the stage knows.
        self.inputs = inputs

    def forward(self, X: Tensor) -> Tensor:
        """Return outputs of shape (n, n_outputs)."""
        return self.trace(X).outputs

    def trace(self, X: Tensor) -> ForwardPass:
        """Return outputs together with the features that tasks share."""
        (X, linear), sharing, mixing = (
            self.read(self.apply_inputs(X)),
            self.sharing,
            None,
        )
        shared: Tensor | None
        if isinstance(sharing, MixtureModule) and sharing.n_mixed > 1:
            mixing, shared = sharing.mixture(X)
            if self._mixes_outputs:
                outputs = self.heads.mix(mixing, shared)
                outputs = self._couple(outputs, linear)
                return ForwardPass(outputs, shared, self._plain, mixing)
            features = mixing @ shared
        else:
            features, shared, mixing = sharing.trace(X)
        if features is shared and features.ndim == 3:
            shared = None  # each task reads its own, so that gradients never meet
        heads_only = self._plain and (mixing is not None or features is shared)
        if self._relates("forward"):
            shared = features if shared is None else shared
            features = self._relate(features)
        outputs = self._couple(
            self.heads(features, self.head_weight() if self.makes_heads else None),
            linear,
        )
        return ForwardPass(outputs, shared, heads_only, mixing)

    @property
    def hard_shared(self) -> bool:
        """Whether tasks share everything but their heads."""
        unrelated = self.coupling is None and not self._relates("forward")
        return type(self.sharing) is HardModule and unrelated

    @property
    def makes_heads(self) -> bool:
        """Whether a relation makes the weights of the heads."""
        return self._relates("head_weight")

    @property
    def _plain(self) -> bool:
        """Whether nothing but sharing and heads makes outputs."""
        relates = self._relates("forward") or self.makes_heads
        return self.coupling is None and not relates

    def _relates(self, method: str) -> bool:
        """Whether there is a relation that does something in a method."""
        override = getattr(type(self.relation), method, None)
        return (
            override is not getattr(RelationModule, method)
            and self.relation is not None
        )

    def head_weight(self) -> Tensor:
        """Return the weights of the heads, of shape (n_outputs, width)."""
        weight: Tensor = detach_in_inference(self.heads.weight)
        if not self.makes_heads:
            return weight
        return self.relation.head_weight(weight, self.heads.task_of_output)  # type: ignore[union-attr]

    def read(self, X: Tensor) -> tuple[Tensor, Tensor | None]:
        """Return what encoders read of staged inputs, and what outputs get added."""
        return (X, None) if self.sparse is None else self.sparse(X)

    def _couple(self, outputs: Tensor, linear: Tensor | None) -> Tensor:
        outputs = outputs if linear is None else outputs + linear
        return outputs if self.coupling is None else self.coupling(outputs)

    def _relate(self, features: Tensor) -> Tensor:
        if features.ndim == 2:  # all tasks start from the same
            features = features.unsqueeze(1).expand(-1, self.n_tasks, -1)
        return self.relation(features)  # type: ignore[no-any-return, misc]

    @property
    def _mixes_outputs(self) -> bool:
        """Whether mixing outputs costs less than mixing features."""
        related = self._relates("forward") or self.makes_heads
        if related or not isinstance(self.sharing, MixtureModule):
            return False
        n_mixed, width = self.sharing.n_mixed, self.sharing.width
        # Features of tasks are slow to make: the factor 4 was measured.
        cheap = 4 * n_mixed * self.heads.n_outputs <= self.n_tasks * width
        return n_mixed > 1 and cheap

    def gate_usage(self, X: Any) -> NDArray[np.float64]:
        """Return the mean weight of each expert in each task."""
        # X of shape (n_samples, ...); returns (n_tasks, n_experts).
        parameter = self.heads.weight
        training = self.training
        self.eval()
        with use_default_modes(), torch.no_grad():
            if not isinstance(X, Tensor):
                X = torch.tensor(np.ascontiguousarray(X))
            batch = X.to(parameter.device, self.input_dtype)
            gates = self.sharing.gates(self.read(self.apply_inputs(batch))[0])
        self.train(training)
        if gates is None:
            raise ValueError(
                f"{type(self.sharing).__name__.removeprefix('_')} has no gates: use a "
                "sharing strategy with experts, such as 'mmoe'."
            )
        usage: NDArray[np.float64] = gates.mean(dim=0).double().cpu().numpy()
        return usage

    def shared_parameters(self) -> Iterable[nn.Parameter]:
        """Return the parameters that more than one task depends on."""
        yield from self.sharing.shared_parameters()
        if self.sparse is not None and self.sparse.n_networks == 1:
            yield self.sparse.features
        for link in (self.relation, self.coupling):
            if link is not None:
                yield from link.parameters()
        if self.makes_heads:
            yield self.heads.weight

    def penalty(self) -> Tensor | None:
        """Return the sum of what sharing and relation add to the loss, or None."""
        penalty = self.sharing.penalty()
        if self.relation is None:
            return penalty
        other = self.relation.penalty(self.head_weight(), self.heads.task_of_output)
        if penalty is None or other is None:
            return other if penalty is None else penalty
        return penalty + other

    @property
    def follows_epochs(self) -> bool:
        """Whether ``after_epoch`` does anything."""
        return self._relates("after_epoch")

    def after_epoch(self) -> None:
        """Let the relation take note of an epoch."""
        if self.follows_epochs:
            with torch.no_grad():
                args = self.head_weight(), self.heads.task_of_output
                self.relation.after_epoch(*args)  # type: ignore[union-attr]

    def relation_matrix(self) -> Tensor | None:
        """Return what the relation knows of pairs of tasks, or None."""
        if self.relation is None:
            return None
        with torch.no_grad():
            return self.relation.matrix()


class Heads(nn.Module):
    """One linear head per task, all in one weight tensor."""

    # Weights and biases start at zero and are added to the tasks' priors, so that no
    # class is preferred by chance: renaming the classes permutes the outputs and
    # changes nothing else. Weight decay then draws the outputs towards the priors.

    prior: Tensor  # (n_outputs,): Initial outputs.
    task_of_output: Tensor
    order: Tensor

    def __init__(
        self,
        blocks: Sequence[OutputBlock],
        n_tasks: int,
        width: int,
        prior: NDArray[np.float64],
    ) -> None:
        super().__init__()
        self.blocks = tuple(blocks)
        self.n_tasks = n_tasks
        self.weight = nn.Parameter(torch.zeros(len(prior), width))
        self.bias = nn.Parameter(torch.zeros(len(prior)))
        self.register_buffer("prior", torch.from_numpy(prior.copy()))
        sizes = [item for b in blocks for item in zip(b.tasks, b.sizes, strict=True)]
        owner = [task for task, size in sizes for _ in range(size)]
        self.register_buffer("task_of_output", torch.tensor(owner, dtype=torch.int64))
        self._several_outputs = owner != list(range(n_tasks))
        order = torch.tensor([task for block in blocks for task in block.tasks])
        self.register_buffer("order", order.long(), persistent=False)
        for i, block in enumerate(blocks):
            all_tasks = block.tasks == tuple(range(n_tasks))
            tasks = None if all_tasks else torch.tensor(block.tasks)
            columns = torch.from_numpy(block.padded_columns) if block.ragged else None
            self.register_buffer(f"tasks_{i}", tasks, persistent=False)
            self.register_buffer(f"columns_{i}", columns, persistent=False)

    @property
    def n_outputs(self) -> int:
        """Number of outputs of all tasks together."""
        return len(self.task_of_output)

    def forward(self, features: Tensor, weight: Tensor | None = None) -> Tensor:
        """Map features (n, n_tasks, width) or (n, width) to outputs (n, n_outputs)."""
        # Weights (n_outputs, width) may stand in for the own ones.
        weight = self.weight if weight is None else weight
        if features.ndim == 2:  # every head reads the same features
            return F.linear(features, weight, self.bias + self.prior)
        outputs = [self._outputs(i, features, weight) for i in range(len(self.blocks))]
        if not outputs:
            return features.new_zeros(len(features), 0)
        return outputs[0] if len(outputs) == 1 else torch.cat(outputs, dim=1)

    def mix(self, G: Tensor, H: Tensor) -> Tensor:
        """Map features (n, n_mixed, width) to outputs (n, n_outputs)."""
        # Tasks read mixtures of them, with weights (n, n_tasks, n_mixed), or weights
        # (n_tasks, n_mixed) that are the same for all samples.
        G = G.mT
        if self._several_outputs:
            G = G.index_select(-1, self.task_of_output)
        b = self.bias + self.prior
        if G.ndim == 2:  # mix the heads
            W = G.mT.unsqueeze(2) * self.weight.unsqueeze(1)
            return F.linear(H.flatten(1), W.flatten(1), b)
        return (F.linear(H, self.weight) * G).sum(dim=1) + b

    def _outputs(self, i: int, features: Tensor, weight: Tensor) -> Tensor:
        tasks, columns = getattr(self, f"tasks_{i}"), getattr(self, f"columns_{i}")
        H = features if tasks is None else features.index_select(1, tasks)
        W = self._pad(i, weight)  # (tasks, size, width)
        b = self._pad(i, self.bias + self.prior).unsqueeze(1)
        Z = torch.baddbmm(b, H.transpose(0, 1), W.mT)  # (tasks, n, size)
        Z = Z.transpose(0, 1).flatten(1)
        return Z if columns is None else Z.index_select(1, columns)

    def gradients(self, D: Tensor) -> Tensor:
        """Map gradients at the outputs (n, n_outputs) to those of tasks at features."""
        # They have shape (n_tasks, n, width); all heads read the same features.
        n_tasks, parts, W = self.n_tasks, [], self.weight.detach()
        for i, block in enumerate(self.blocks):
            D_i = self._pad(i, D.T).transpose(1, 2)  # (tasks, n, size)
            part = torch.bmm(D_i, self._pad(i, W))
            if len(block.tasks) == n_tasks and getattr(self, f"tasks_{i}") is None:
                return part
            parts.append(part)
        zeros = D.new_zeros(n_tasks, len(D), W.shape[1])  # a task may have no output
        return zeros.index_copy(0, self.order, torch.cat(parts))

    def _pad(self, i: int, rows: Tensor) -> Tensor:
        """Return the rows of outputs of a block, as (tasks, size, ...)."""
        block, columns = self.blocks[i], getattr(self, f"columns_{i}")
        if len(self.blocks) > 1:
            rows = rows[block.start : block.stop]
        if columns is not None:
            n = len(block.tasks) * block.size
            rows = rows.new_zeros(n, *rows.shape[1:]).index_copy(0, columns, rows)
        return rows.unflatten(0, (-1, block.size))
