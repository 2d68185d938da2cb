"""Encoders and strategies that several strategies' own tests use."""

import torch
from torch import nn
from torch.nn import functional as F

from skmtl.encoder import Encoder, EncoderModule
from skmtl.sharing import Sharing

IMAGE_SHAPE = (2, 6, 6)


class Convolutions(Encoder):
    """A small network for images: two convolutions, the second pooled, and a layer."""

    input_ndim = 4

    def build(self, input_shape, n_copies=1):
        return _Convolutions(input_shape[0], n_copies)


class _Convolutions(EncoderModule):
    width = 5

    def __init__(self, n_channels, n_copies):
        super().__init__()
        self.n_copies = n_copies
        self.layers = nn.ModuleList(
            [
                _Convolution(n_copies, n_channels, 4, pool=1),
                _Convolution(n_copies, 4, 5, pool=2),
                _GlobalAverage(),
            ]
        )


class _Convolution(nn.Module):
    def __init__(self, n_copies, n_channels, n_outputs, pool):
        super().__init__()
        self.weight = nn.Parameter(torch.randn(n_copies, n_outputs, n_channels, 3, 3))
        self.pool = pool

    def forward(self, X):
        X = X.expand(len(self.weight), *X.shape) if X.ndim == 4 else X
        copies = len(X)
        H = F.conv2d(
            X.transpose(0, 1).flatten(1, 2),
            self.weight.flatten(0, 1),
            padding=1,
            groups=copies,
        )
        H = F.avg_pool2d(torch.tanh(H), self.pool)
        return H.unflatten(1, (copies, -1)).transpose(0, 1)


class _GlobalAverage(nn.Module):
    def forward(self, H):
        return H.mean(dim=(-2, -1))


class Alike(Encoder):
    """An encoder whose copies start from the weights of the first."""

    def __init__(self, encoder):
        self.encoder = encoder

    def build(self, input_shape, n_copies=1):
        module = self.encoder.build(input_shape, n_copies)
        with torch.no_grad():
            for parameter in module.parameters():
                parameter.copy_(parameter[:1].clone().expand_as(parameter))
        return module


class Frozen(Sharing):
    """A strategy some of whose parameters, chosen by their names, never train."""

    def __init__(self, sharing, *, frozen):
        self.sharing = sharing
        self.frozen = frozen

    def build(self, encoder, input_shape, n_tasks):
        module = self.sharing.build(encoder, input_shape, n_tasks)
        for name, parameter in module.named_parameters():
            if self.frozen in name:
                parameter.requires_grad_(False)
        return module
