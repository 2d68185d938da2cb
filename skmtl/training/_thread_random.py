"""Whether a net draws from the global random states."""

from collections.abc import Iterator

from torch import nn

from skmtl._core.layers import Dropout, FunctionalModule
from skmtl.training._augmentation import Function
from skmtl.training._callbacks import SklearnCallbacks
from skmtl.training._lookahead import Lookahead
from skmtl.training._net import MultiTaskNet
from skmtl.training._validation_scores import ValidationScores

#: Packages whose classes draw from no global state but torch's, if any.
PACKAGES = ("skmtl", "torch")
#: Modules of torch that draw from its global state, beside those of dropout.
DRAWING = (
    nn.FractionalMaxPool2d,
    nn.FractionalMaxPool3d,
    nn.MultiheadAttention,
    nn.RNNBase,
    nn.RReLU,
)
#: What runs a user's code, or changes what is global in Python.
FOREIGN = (Function, Lookahead, SklearnCallbacks)


def uses_own_generator_only(net: MultiTaskNet, scores: ValidationScores | None) -> bool:
    """Return whether all of a net's training draws from the thread's own generator."""
    specs = (net.module__sharing, net.module__encoder, net.module__relation)
    parts = [
        *_iterate_modules(net.module_),
        *net.weighting_.modules(),
        *(callback for _, callback in net.callbacks_),
        *net.augmentation,
        net.optimizer_,
        net.weighting,
        *(spec for spec in specs if spec is not None),
    ]
    judged = scores is not None and scores.scorer.metrics is not None
    plain = net.device == "cpu" and net.backend is None
    return plain and not judged and all(map(_is_known, parts))


def has_foreign_modules(module: nn.Module) -> bool:
    """Return whether a network has modules of other packages than `PACKAGES`."""
    return any(
        type(part).__module__.partition(".")[0] not in PACKAGES
        for part in _iterate_modules(module)
    )


def _iterate_modules(module: nn.Module) -> Iterator[nn.Module]:
    """Yield all modules, those too that are run with parameters of others."""
    for part in module.modules():
        yield part
        if isinstance(part, FunctionalModule):
            yield from _iterate_modules(part.skeleton)


def _is_known(part: object) -> bool:
    if type(part).__module__.partition(".")[0] not in PACKAGES:
        return False
    if isinstance(part, nn.modules.dropout._DropoutNd):
        return isinstance(part, Dropout) or part.p == 0
    return not isinstance(part, (*DRAWING, *FOREIGN))
