"""A small transformer over tokens of features and tasks."""

from __future__ import annotations

import math
from collections.abc import Iterable
from numbers import Integral, Real
from typing import TYPE_CHECKING, Any, ClassVar, Self

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from skmtl._core.layers import StackedLinear, TokenBlock, detach_in_inference
from skmtl._core.validation import Interval
from skmtl.sharing._base import Sharing, SharingModule

if TYPE_CHECKING:
    from skmtl.encoder import Encoder, EncoderModule


class TaskToken(Sharing):
    r"""A transformer over tokens of features and one token per task.

    The transformer for tables [1]_ with a token for each task [2]_ in place of the one
    for the class. Features of one encoder are cut into groups of neighbours, and group
    j becomes the token :math:`W_j x_j + b_j`; with ``MLP(())`` and as many tokens as
    columns these are the columns, as in the paper. They attend to each other. The token
    of a task is learned, attends to those and itself, and in the end is what the task's
    head reads. Feed-forward layers have GELU and twice the width, not ReGLU.

    Parameters
    ----------
    token_width : int, default=32
        Width of a token, divisible by ``n_heads``.
    n_tokens : int, default=16
        Largest number of tokens into which the features are cut.
    n_blocks : int, default=2
        Number of blocks of attention and feed-forward layer.
    n_heads : int, default=4
        Number of attention heads.
    dropout : float, default=0.0
        Probability of zeroing what a layer adds to a token while training.
    masked : bool, default=True
        Whether tokens of tasks do not see each other, which takes time linear in their
        number.

    References
    ----------
    .. [1] Y. Gorishniy, I. Rubachev, V. Khrulkov and A. Babenko, "Revisiting Deep
       Learning Models for Tabular Data", NeurIPS 2021.
    .. [2] D. Sinodinos et al., "MultiTab: A Scalable Foundation for Multitask Learning
       on Tabular Data", AAAI 2026.

    Examples
    --------
    >>> from skmtl import MultiTaskClassifier
    >>> from skmtl.sharing import TaskToken
    >>> est = MultiTaskClassifier(TaskToken(n_blocks=1))
    >>> est.set_params(sharing__token_width=64).sharing
    TaskToken(n_blocks=1, token_width=64)
    """

    name = "task_token"
    _parameter_constraints: ClassVar[dict[str, list[Any]]] = {
        "token_width": [Interval(Integral, 1, None, closed="left")],
        "n_tokens": [Interval(Integral, 1, None, closed="left")],
        "n_blocks": [Interval(Integral, 1, None, closed="left")],
        "n_heads": [Interval(Integral, 1, None, closed="left")],
        "dropout": [Interval(Real, 0, 1, closed="left")],
        "masked": ["boolean"],
    }

    def __init__(
        self,
        token_width: int = 32,
        n_tokens: int = 16,
        n_blocks: int = 2,
        n_heads: int = 4,
        dropout: float = 0.0,
        masked: bool = True,
    ) -> None:
        self.token_width = token_width
        self.n_tokens = n_tokens
        self.n_blocks = n_blocks
        self.n_heads = n_heads
        self.dropout = dropout
        self.masked = masked

    def validate(self) -> Self:
        """Return the spec itself after checking its settings."""
        super().validate()
        if self.token_width % self.n_heads:
            raise ValueError(
                "The 'token_width' parameter of TaskToken must be divisible by "
                f"'n_heads'. Got {self.token_width} and {self.n_heads}."
            )
        return self

    def build(
        self, encoder: Encoder, input_shape: tuple[int, ...], n_tasks: int
    ) -> SharingModule:
        """Build the one encoder and the transformer."""
        return _TaskToken(encoder.build(input_shape, 1), n_tasks, self)


class _TaskToken(SharingModule):
    def __init__(self, encoder: EncoderModule, n_tasks: int, spec: TaskToken) -> None:
        super().__init__()
        self.encoder = encoder
        self.width = spec.token_width
        self.masked = spec.masked
        self.size = math.ceil(encoder.width / spec.n_tokens)  # features of a token
        n_tokens = math.ceil(encoder.width / self.size)
        self.tokens = StackedLinear(n_tokens, self.size, self.width)
        bound = 1 / math.sqrt(self.width)
        self.tasks = nn.Parameter(torch.empty(n_tasks, self.width))
        nn.init.uniform_(self.tasks, -bound, bound)
        self.blocks = nn.ModuleList(
            TokenBlock(
                self.width,
                spec.n_heads,
                spec.dropout,
                spec.masked,
                first=i == 0,
                last=i == spec.n_blocks - 1,
            )
            for i in range(spec.n_blocks)
        )
        self.norm = nn.LayerNorm(self.width)

    def forward(self, X: Tensor) -> tuple[Tensor, Tensor | None]:
        H = self.encoder.single(X)  # (n, encoder width)
        H = F.pad(H, (0, -H.shape[1] % self.size)).view(H.shape[0], -1, self.size)
        start = self.tokens(H.transpose(0, 1)).transpose(0, 1)  # (n, tokens, width)
        tokens = start
        # At first the same for all samples.
        tasks = detach_in_inference(self.tasks).unsqueeze(0)
        for block in self.blocks:
            tokens, tasks = block(tokens, tasks)
        return self.norm(tasks), start

    def shared_parameters(self) -> Iterable[nn.Parameter]:
        task_token = "tasks" if self.masked else None  # each row is of one task
        return (p for name, p in self.named_parameters() if name != task_token)
