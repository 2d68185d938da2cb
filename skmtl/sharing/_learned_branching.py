"""Sharing as a tree whose branches are learned."""

from __future__ import annotations

from collections.abc import Iterable
from numbers import Integral, Real
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from skmtl._core.layers import get_generator
from skmtl._core.validation import Interval
from skmtl.sharing._base import MixtureModule, Sharing, SharingModule

if TYPE_CHECKING:
    from skmtl.encoder import Encoder, EncoderModule


class LearnedBranching(Sharing):
    r"""A tree of layers, in which every node learns which branch it grows from.

    Each step of the encoder exists in several copies. A node of step l + 1 takes its
    input from one node of step l, and a task its features from one of the last step.
    While training, node j draws its parent i from
    :math:`\operatorname{softmax}_i(\alpha_{ij})` with the straight-through
    Gumbel-softmax estimator [1]_: the drawn parent's features go forward, gradients go
    back through the softmax of temperature :math:`\tau`. Afterwards each node keeps
    the most probable parent.

    Unlike in the paper, choices and weights train together from the start, at one
    temperature, with :math:`\alpha = s \theta` for trained :math:`\theta`, which is
    the larger learning rate of the paper's choices under any optimizer of Adam's kind.

    Parameters
    ----------
    n_branches : int, default=4
        Number of copies of each step; there are at most as many as tasks.
    temperature : float, default=1.0
        Temperature :math:`\tau` of the gradients. Small ones are closer to those of
        the drawn tree and vary more.
    scale : float, default=30.0
        Factor s of the choices, which makes them as much faster than the weights.

    References
    ----------
    .. [1] P. Guo, C.-Y. Lee and D. Ulbricht, "Learning to Branch for Multi-Task
       Learning", ICML 2020.

    Examples
    --------
    ``module_.sharing.tree()`` tells what was learned: the parents of the nodes of the
    second step, the third and so on, and at last the node that each task reads.

    >>> from sklearn.datasets import make_regression
    >>> from skmtl import MultiTaskRegressor
    >>> from skmtl.encoder import MLP
    >>> from skmtl.sharing import LearnedBranching
    >>> X, Y = make_regression(60, n_features=5, n_targets=3, random_state=0)
    >>> sharing = LearnedBranching(n_branches=2)
    >>> est = MultiTaskRegressor(sharing, encoder=MLP((8, 8)), max_iter=5).fit(X, Y)
    >>> [parents.shape for parents in est.module_.member(0).sharing.tree()]
    [(2,), (3,)]
    """

    name = "learned_branching"
    _parameter_constraints: ClassVar[dict[str, list[Any]]] = {
        "n_branches": [Interval(Integral, 1, None, closed="left")],
        "temperature": [Interval(Real, 0, None, closed="neither")],
        "scale": [Interval(Real, 0, None, closed="neither")],
    }

    def __init__(
        self, n_branches: int = 4, temperature: float = 1.0, scale: float = 30.0
    ) -> None:
        self.n_branches = n_branches
        self.temperature = temperature
        self.scale = scale

    def build(
        self, encoder: Encoder, input_shape: tuple[int, ...], n_tasks: int
    ) -> SharingModule:
        """Build the copies of the encoder and the choices between them."""
        branches = encoder.build(input_shape, min(self.n_branches, n_tasks))
        return _LearnedBranching(branches.probe(input_shape), n_tasks, self)


class _LearnedBranching(MixtureModule):
    def __init__(
        self, branches: EncoderModule, n_tasks: int, spec: LearnedBranching
    ) -> None:
        super().__init__()
        self.branches = branches
        self.width, self.n_mixed = branches.width, branches.n_copies
        self.temperature = spec.temperature
        self.scale = spec.scale
        k = branches.n_copies
        self.readers = [*[k] * (len(branches.steps()) - 1), n_tasks]
        # One branch leaves nothing to choose.
        choices = (torch.zeros(r, k) for r in self.readers if k > 1)
        self.choices = nn.ParameterList(choices)
        self.same_features = not len(self.choices)

    def forward(self, X: Tensor) -> tuple[Tensor, Tensor | None]:
        if self.same_features:
            H = self.branches.single(X)  # (n, width): all heads read the same
            return H, H
        return super().forward(X)

    def mixture(self, X: Tensor) -> tuple[Tensor, Tensor]:
        *inner, last = self.choices
        H = self.branches.step(0, X)  # (branches, n, ...)
        for i, choice in enumerate(inner, start=1):
            H = torch.einsum("cp,p...->c...", self._choose_branches(choice), H)
            H = self.branches.step(i, H)
        return self._choose_branches(last), H.transpose(0, 1)

    def shared_parameters(self) -> Iterable[nn.Parameter]:
        # What a task reads is its own choice, in a row of the last step's choices.
        last_choice = f"choices.{len(self.choices) - 1}"
        return (p for name, p in self.named_parameters() if name != last_choice)

    def tree(self) -> list[NDArray[np.int64]]:
        """Return the parent of each node of a step, the last being the tasks."""
        if not len(self.choices):
            return [np.zeros(readers, dtype=np.int64) for readers in self.readers]
        return [choice.detach().argmax(dim=1).cpu().numpy() for choice in self.choices]

    def _choose_branches(self, choice: Tensor) -> Tensor:
        """Return one row per reader that is one at its parent and else zero."""
        logits = self.scale * choice
        if self.training:
            uniform = torch.empty_like(logits).uniform_(generator=get_generator())
            uniform = uniform.clamp_min(torch.finfo(logits.dtype).tiny)
            logits = logits - (-uniform.log()).log()  # Gumbel noise
        parents = torch.arange(logits.shape[1], device=logits.device)
        hard = (logits.argmax(dim=1, keepdim=True) == parents).to(logits.dtype)
        soft = (logits / self.temperature).softmax(dim=1)
        return hard - soft.detach() + soft
