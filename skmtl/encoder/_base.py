"""What every encoder offers."""

from abc import abstractmethod
from typing import ClassVar

from torch import Tensor, nn

from skmtl._registry import Spec


class EncoderModule(nn.Module):
    """Copies of one network that turn a sample into features.

    Subclasses set ``width`` and ``n_copies`` and either fill ``layers``, which
    strategies that mix between layers walk one by one, or override ``forward``.

    Attributes
    ----------
    width : int
        Number of features per sample.
    n_copies : int
        Number of independent networks.
    layers : torch.nn.ModuleList
        Steps from input to features; the first maps the input, seen by all copies, to
        (n_copies, n, width of the layer), the others keep that form. Between the
        layers of a single network the axis of copies may be left out.
    """

    width: int
    n_copies: int
    layers: nn.ModuleList

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


class Encoder(Spec):
    """Base class of encoder specs: what turns one sample into features.

    Subclass it and write ``build`` to add an encoder; instances work as the
    ``encoder`` parameter of every estimator without being registered.
    """

    #: Dimensions of the input with its samples axis; None leaves it to the module.
    input_ndim: ClassVar[int | None] = None

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
