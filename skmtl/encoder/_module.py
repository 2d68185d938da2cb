"""A user's own network as an encoder."""

import copy
import inspect
import warnings
from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.func import stack_module_state

from skmtl._core.layers import FunctionalModule
from skmtl.encoder._base import Encoder, EncoderModule


class ModuleEncoder(Encoder):
    """Encoder made of any `torch.nn.Module` class that returns (n, width) features.

    Estimators wrap a module class or a callable given as ``encoder`` in this spec.

    Parameters
    ----------
    module : callable
        A `torch.nn.Module` class, or any callable that returns a new module. It is
        called with ``n_features``, the number of columns (or channels) of the input,
        where its signature has that name, and without arguments otherwise.

    Examples
    --------
    >>> from torch import nn
    >>> from skmtl.encoder import ModuleEncoder
    >>> def network(n_features):
    ...     return nn.Sequential(nn.Linear(n_features, 8), nn.Tanh())
    >>> ModuleEncoder(network).build((5,)).width
    8
    """

    name = "module"

    def __init__(self, module: Callable[..., nn.Module]) -> None:
        self.module = module

    def build(self, input_shape: tuple[int, ...], n_copies: int = 1) -> EncoderModule:
        """Build the copies, stacked where the module allows it."""
        modules = [self._new(input_shape) for _ in range(n_copies)]
        # Every module is asked: lazy ones get their parameters by that.
        widths = [_feature_width(module, input_shape) for module in modules]
        if n_copies > 1 and _stackable(modules[:2], widths[0], input_shape):
            return _Stacked(modules, widths[0])
        return _Separate(modules, widths[0])

    def _new(self, input_shape: tuple[int, ...]) -> nn.Module:
        parameters = inspect.signature(self.module).parameters
        arguments = {"n_features": input_shape[0]} if "n_features" in parameters else {}
        module = self.module(**arguments)
        if not isinstance(module, nn.Module):
            raise ValueError(
                "The 'encoder' parameter must be an encoder's name, an Encoder, or a "
                f"callable that returns a torch.nn.Module. {self.module!r} returned "
                f"{type(module).__name__}."
            )
        return module


class _Separate(EncoderModule):
    """Copies evaluated one by one, for what cannot be stacked."""

    def __init__(self, modules: list[nn.Module], width: int) -> None:
        super().__init__()
        self.copies = nn.ModuleList(modules)
        self.n_copies = len(modules)
        self.width = width

    def forward(self, X: Tensor) -> Tensor:
        return torch.stack([module(X) for module in self.copies])

    def single(self, X: Tensor) -> Tensor:
        return self.copies[0](X)  # type: ignore[no-any-return]

    def stacks(self) -> dict[str, Tensor]:
        modules = [dict(module.named_parameters()) for module in self.copies]
        return {name: torch.stack([m[name] for m in modules]) for name in modules[0]}

    def from_stacks(self, stacks: dict[str, Tensor]) -> dict[str, Tensor]:
        return {
            f"copies.{c}.{name}": stack[c]
            for name, stack in stacks.items()
            for c in range(self.n_copies)
        }


class _Stacked(EncoderModule):
    """Copies evaluated as one module mapped over stacked parameters."""

    def __init__(self, modules: list[nn.Module], width: int) -> None:
        super().__init__()
        parameters, buffers = stack_module_state(modules)
        # Names of stacked parameters hold dots, which torch refuses: number them.
        self._names = list(parameters)
        self.parameters_ = nn.ParameterList(p.detach() for p in parameters.values())
        self.network = FunctionalModule(modules[0])
        self.network.hold(buffers)
        self.n_copies = len(modules)
        self.width = width

    def forward(self, X: Tensor) -> Tensor:
        def one(p: dict[str, Tensor], b: dict[str, Tensor]) -> Tensor:
            return self.network.evaluate(p, b, X)

        parameters = dict(zip(self._names, self.parameters_, strict=True))
        mapped = torch.vmap(one, randomness="different")
        return mapped(parameters, self.network.held_buffers())  # type: ignore[no-any-return]


def _stackable(
    modules: list[nn.Module], width: int, input_shape: tuple[int, ...]
) -> bool:
    """Check on copies whether stacked modules do what separate ones do."""
    # What has no parameters, changes its buffers as batch normalisation does, or uses
    # an operation that vmap does not know, cannot be stacked.
    X = torch.randn(2, *input_shape)
    apart = _Separate(copy.deepcopy(modules), width)
    before = [buffer.clone() for buffer in apart.buffers()]
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")  # vmap warns where it falls back to a loop
            apart.train()(X)
            if not all(map(torch.equal, before, apart.buffers())):
                return False
            together = _Stacked(copy.deepcopy(modules), width)
            together.train()(X).sum().backward()  # type: ignore[no-untyped-call]
            with torch.no_grad():
                expected, outputs = apart.eval()(X), together.eval()(X)
            return torch.allclose(outputs, expected, rtol=1e-3, atol=1e-4)
    except Exception:  # noqa: BLE001 -- whatever it is, one by one it may work
        return False


def _feature_width(module: nn.Module, input_shape: tuple[int, ...]) -> int:
    training = module.training
    module.eval()
    try:
        with torch.no_grad():
            H = module(torch.zeros(2, *input_shape))
    except (RuntimeError, TypeError, ValueError) as error:
        raise ValueError(
            f"The module given as 'encoder' cannot take a batch of shape "
            f"{(2, *input_shape)}: {str(error).splitlines()[0]}"
        ) from error
    finally:
        module.train(training)
    if not isinstance(H, Tensor) or H.ndim != 2 or H.shape[0] != 2:
        got = tuple(H.shape) if isinstance(H, Tensor) else type(H).__name__
        raise ValueError(
            "The module given as 'encoder' must map n samples to features of shape "
            f"(n, width). For 2 samples it returned {got}: flatten or pool its output."
        )
    return H.shape[1]
