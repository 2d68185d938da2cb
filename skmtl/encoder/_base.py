"""What every encoder offers."""

import copy
from abc import abstractmethod
from collections.abc import Sequence
from typing import ClassVar, Self

import torch
from sklearn.base import clone
from torch import Tensor, nn
from torch.nn import functional as F

from skmtl._core.specs import Spec
from skmtl.encoder._inputs import InputStage, TrainingInputs


class EncoderModule(nn.Module):
    """Copies of one network that turn a sample into features.

    Subclasses set ``width`` and ``n_copies`` and either fill ``layers``, which
    strategies that mix between layers walk one by one, or override ``forward``; the
    whole network is then a single step.

    With several copies, every parameter has the copies on its first axis.

    Attributes
    ----------
    width : int
        Number of features per sample.
    n_copies : int
        Number of independent networks.
    layers : torch.nn.ModuleList
        Steps from input to features; the first maps the input, seen by all copies, to
        (n_copies, n, ...), the others keep that form. Between the layers of a single
        network the axis of copies may be left out.
    shapes : list of tuple of int
        Shape of one sample after each step; see ``probed``.
    """

    width: int
    n_copies: int
    layers: nn.ModuleList
    shapes: list[tuple[int, ...]]

    def forward(self, X: Tensor) -> Tensor:
        """Turn samples into features.

        Parameters
        ----------
        X : Tensor of shape (n, ...)
            A batch of inputs.

        Returns
        -------
        Tensor of shape (n_copies, n, width)
            Features from each network.
        """
        for layer in self.layers:
            X = layer(X)
        return X

    def single(self, X: Tensor) -> Tensor:
        """Map an input of n samples to the features of a single network.

        Parameters
        ----------
        X : Tensor of shape (n, ...)
            A batch of inputs.

        Returns
        -------
        Tensor of shape (n, width)
            The features, without the axis of copies.
        """
        return self(X).squeeze(0)  # type: ignore[no-any-return]

    def steps(self) -> Sequence[nn.Module]:
        """Return what the network does, cut where strategies may mix.

        Returns
        -------
        sequence of torch.nn.Module
            The layers, or the network itself where it has none to be walked.
        """
        layers = getattr(self, "layers", None)
        return list(layers) if layers else [self]

    def probe(self, input_shape: tuple[int, ...]) -> Self:
        """Learn the shapes of features between steps, for ``step``.

        Parameters
        ----------
        input_shape : tuple of int
            Shape of one sample.

        Returns
        -------
        self : object
            The module, with ``shapes``.
        """
        n = 2 if self.n_copies == 1 else 1  # tells an axis of copies from one of rows
        self.shapes, self._omits_copies = [], []
        H = torch.zeros(n, *input_shape, dtype=torch.float64)
        with torch.no_grad():
            for step in copy.deepcopy(self).double().eval().steps():
                H = step(H)
                omitted = H.shape[:2] != (self.n_copies, n)
                self._omits_copies.append(omitted)
                self.shapes.append(tuple(H.shape[1 if omitted else 2 :]))
        return self

    def step(self, i: int, H: Tensor) -> Tensor:
        """Do one step of the network.

        Parameters
        ----------
        i : int
            Number of the step.
        H : Tensor of shape (n, ...) or (n_copies, n, ...)
            The input, for the first step; else features, of ``shapes[i - 1]``.

        Returns
        -------
        Tensor of shape (n_copies, n, ...)
            Features of ``shapes[i]``.
        """
        if i and self._omits_copies[i - 1]:
            H = H.squeeze(0)  # what the step gets where the network is not walked
        H = self.steps()[i](H)
        return H.unsqueeze(0) if self._omits_copies[i] else H

    def gate_inputs(self, X: Tensor) -> Tensor:
        """Return what a gate that looks at the input reads.

        Parameters
        ----------
        X : Tensor of shape (n, ...)
            A batch of inputs.

        Returns
        -------
        Tensor of shape (n, n_gate_inputs)
            The input as a table; images are averaged down to 8 x 8.
        """
        if X.ndim == 4:
            X = F.adaptive_avg_pool2d(X, (min(8, X.shape[2]), min(8, X.shape[3])))
        return X.flatten(1)

    def stacks(self) -> dict[str, Tensor]:
        """Return the parameters of several copies, by name.

        Returns
        -------
        dict of str to Tensor of shape (n_copies, ...)
            One entry per parameter of a copy.
        """
        return dict(self.named_parameters())

    def from_stacks(self, stacks: dict[str, Tensor]) -> dict[str, Tensor]:
        """Return such stacks under the names that ``functional_call`` wants.

        Parameters
        ----------
        stacks : dict of str to Tensor of shape (n_copies, ...)
            Values for the entries of ``stacks()``.

        Returns
        -------
        dict of str to Tensor
            Values for the entries of ``named_parameters()``.
        """
        return stacks


class Encoder(Spec):
    """Base class of encoder specs: what turns one sample into features.

    Subclass it and write ``build`` to add an encoder; instances work as the
    ``encoder`` parameter of every estimator without being registered.
    """

    #: Dimensions of the input with its samples axis; None leaves it to the module.
    input_ndim: ClassVar[int | None] = None
    #: Whether columns of categories may come, as codes.
    takes_categories: ClassVar[bool] = False
    #: What a prepared spec has learned of raw inputs.
    stage_: InputStage | None = None

    @property
    def allow_nan(self) -> bool:
        """Whether inputs may hold NaN."""
        return False

    def fit_stage(self, inputs: TrainingInputs) -> InputStage | None:
        """Learn what raw inputs go through once, before all networks.

        Parameters
        ----------
        inputs : TrainingInputs
            The rows to train on, from which to learn scales and the like.

        Returns
        -------
        InputStage or None
            Module to whose output ``build`` fits; None, the default, where networks
            read inputs as they are.
        """
        return None

    def prepare(self, inputs: TrainingInputs) -> Self:
        """Return a copy of the spec that builds for some training inputs.

        Parameters
        ----------
        inputs : TrainingInputs
            The rows to train on.

        Returns
        -------
        Encoder
            The copy, whose attributes of what was learned end in an underscore.
        """
        spec: Self = clone(self)
        spec.stage_ = self.fit_stage(inputs)
        return spec

    def input_stage(self) -> InputStage | None:
        """Return what raw inputs go through in one network.

        Returns
        -------
        InputStage or None
            A new module.
        """
        return copy.deepcopy(self.stage_)

    @abstractmethod
    def build(self, input_shape: tuple[int, ...], n_copies: int = 1) -> EncoderModule:
        """Build the network.

        Parameters
        ----------
        input_shape : tuple of int
            Shape of one sample, such as ``(n_features,)``.
        n_copies : int, default=1
            Number of independent networks to build as one module.

        Returns
        -------
        EncoderModule
            Module that maps ``(n, *input_shape)`` to ``(n_copies, n, width)``.
        """
