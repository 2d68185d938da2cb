"""What turns one sample into features: the ``encoder`` parameter."""

from skmtl._core.specs import build_registry
from skmtl.encoder._base import Encoder as Encoder
from skmtl.encoder._base import EncoderModule as EncoderModule
from skmtl.encoder._cnn import CNN as CNN
from skmtl.encoder._inputs import InputStage as InputStage
from skmtl.encoder._inputs import TrainingInputs as TrainingInputs
from skmtl.encoder._mlp import MLP as MLP
from skmtl.encoder._module import ModuleEncoder as ModuleEncoder
from skmtl.encoder._periodic_embedding import PeriodicEmbedding as PeriodicEmbedding
from skmtl.encoder._piecewise_linear_embedding import (
    PiecewiseLinearEmbedding as PiecewiseLinearEmbedding,
)

#: Encoders that a string can name.
ENCODER = build_registry(
    Encoder, {k: v for k, v in globals().items() if k != "ModuleEncoder"}
)
