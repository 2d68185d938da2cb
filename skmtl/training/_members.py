"""Networks and weightings of an ensemble, stacked and computed at once."""

import copy
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.func import functional_call, stack_module_state

from skmtl._core.module_copies import ModuleCopies
from skmtl.encoder import Encoder, EncoderModule
from skmtl.training._module import Heads, ModuleWithInputs, MultiTaskModule
from skmtl.weighting import WeightingModule


class StackedModules(nn.Module):
    """Modules alike but for their weights, evaluated at once."""

    # It holds one of them, whose parameters have the modules on a new first axis.
    # Modules must not change state in `forward` nor branch on values of tensors.

    def __init__(
        self, modules: Sequence[nn.Module], changing: str | None = None
    ) -> None:
        super().__init__()
        self.n_modules = len(modules)
        parameters, buffers = stack_module_state(list(modules))
        self._own = [
            name
            for name, (first, *others) in (
                (name, list(values)) for name, values in buffers.items()
            )
            if (changing is not None and name.startswith(changing))
            or not all(torch.equal(first, other) for other in others)
        ]
        memo: dict[int, Any] = {
            id(parameter): nn.Parameter(parameters[name])
            for name, parameter in modules[0].named_parameters()
        }
        first_buffers = dict(modules[0].named_buffers())
        memo |= {id(first_buffers[name]): buffers[name] for name in self._own}
        self._called = _Called(copy.deepcopy(modules[0], memo))
        self._skeletons = ModuleCopies(self._called)
        self._squeezed: set[str] = set()

    @property
    def together(self) -> nn.Module:
        """The module with stacked parameters, for its structure."""
        return self._called.module

    def squeeze(self, names: Iterable[str]) -> None:
        """Keep some parameters without their second axis, whose length is one."""
        for name in names:
            parameter = self.together.get_parameter(name)
            parameter.data = parameter.data.squeeze(1)
            self._squeezed.add(f"module.{name}")

    def bind(self, method: str, *in_dims: int | None) -> Callable[..., Any]:
        """Return a method that calls all modules at once, for use in one thread."""
        skeleton = self._skeletons.take()
        run = self._map(skeleton, method, in_dims)

        def in_mode(*arguments: Any) -> Any:
            self._skeletons.match_mode(skeleton)
            return run(*arguments)

        return in_mode

    def call(self, method: str, in_dims: tuple[int | None, ...], *args: Any) -> Any:
        """Call a method of all modules at once, in any thread."""
        with self._skeletons.borrow() as skeleton:
            return self._map(skeleton, method, in_dims)(*args)

    def _map(
        self, skeleton: nn.Module, method: str, in_dims: tuple[int | None, ...]
    ) -> Callable[..., Any]:
        """Return a method mapped over all modules, which run on one skeleton."""
        parameters = {
            name: p.unsqueeze(1) if name in self._squeezed else p
            for name, p in self._called.named_parameters()
        }
        buffers = self._get_member_buffers()
        common = {n: b for n, b in self._called.named_buffers() if n not in buffers}

        def one(parameters: Any, buffers: Any, *arguments: Any) -> Any:
            tensors = (parameters, buffers, common)
            return functional_call(skeleton, tensors, (method, *arguments))

        vmapped = torch.vmap(one, in_dims=(0, 0, *in_dims), randomness="different")
        return partial(vmapped, parameters, buffers)

    def states(self) -> list[dict[str, Tensor]]:
        """Return views of the parameters and own buffers of every module."""
        named = dict(self._called.named_parameters()) | self._get_member_buffers()
        return [
            {name: self._part(name, value.detach(), i) for name, value in named.items()}
            for i in range(self.n_modules)
        ]

    def module(self, i: int) -> nn.Module:
        """Return a copy of one of the modules."""
        memo = self._memo(lambda name, t: self._part(name, t, i).clone())
        return copy.deepcopy(self.together, memo)

    def first(self, n: int) -> "StackedModules":
        """Return the first modules, on the same memory."""
        stack = copy.deepcopy(self, self._memo(lambda _, t: t[:n]))
        stack.n_modules = n
        return stack

    def reorder(self, order: NDArray[np.intp]) -> None:
        """Put the modules into another order, in the memory where they are."""
        for values in (*self.parameters(), *self._get_member_buffers().values()):
            values.data.copy_(values.data[torch.from_numpy(order)])

    def _part(self, name: str, stacked: Tensor, i: int) -> Tensor:
        """Return a view of what one of the modules has."""
        return stacked[i].unsqueeze(0) if name in self._squeezed else stacked[i]

    def _memo(self, part: Callable[[str, Tensor], Tensor]) -> dict[int, Any]:
        """Return what copies of the module have in place of its stacked tensors."""
        memo: dict[int, Any] = {
            id(p): nn.Parameter(part(name, p.detach()), p.requires_grad)
            for name, p in self._called.named_parameters()
        }
        buffers = self._get_member_buffers()
        return memo | {id(b): part(name, b) for name, b in buffers.items()}

    def _get_member_buffers(self) -> dict[str, Tensor]:
        names = {f"module.{name}" for name in self._own}
        return {n: b for n, b in self._called.named_buffers() if n in names}


class _Called(nn.Module):
    """Lets ``functional_call`` reach every method of a module."""

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self.module = module

    def forward(self, method: str, *arguments: Any) -> Any:
        return getattr(self.module, method)(*arguments)


class Members(ModuleWithInputs):
    """Networks that are averaged, on what one input stage makes of the inputs."""

    def __init__(
        self,
        modules: Sequence[MultiTaskModule],
        stacked: bool,
        encoder: Encoder | None = None,
    ) -> None:
        super().__init__()
        self.n_estimators = len(modules)
        self.inputs = modules[0].inputs
        for module in modules:
            module.inputs = None if stacked else self.inputs
        self.penalised = modules[0].penalty() is not None
        self.stack = StackedModules(modules, changing="relation.") if stacked else None
        self.separate = None if stacked else nn.ModuleList(modules)
        joins = encoder is not None and stacked and modules[0].hard_shared
        self._encoder_spec = encoder if joins else None
        self._join_encoders()

    def _join_encoders(self) -> None:
        self.encoder: EncoderModule | None = None
        if self._encoder_spec is not None and self.n_estimators > 1:
            self.encoder = self._build_joined_encoder(self._encoder_spec)

    def _build_joined_encoder(self, encoder: Encoder) -> EncoderModule | None:
        """Return encoders of all members as one module on the stacked parameters."""
        alone: Any = self.together.sharing.encoder
        joined = encoder.build(self.together.encoded_shape, self.n_estimators)
        parameters = dict(alone.named_parameters())
        shapes = {name: p.shape for name, p in joined.named_parameters()}
        if shapes.keys() != parameters.keys():
            return None
        # Encoders of several copies lack the axis that one of a single copy may have.
        squeezed = [name for name, p in parameters.items() if p.shape != shapes[name]]
        if any(parameters[name].squeeze(1).shape != shapes[name] for name in squeezed):
            return None
        self.stack.squeeze(f"sharing.encoder.{name}" for name in squeezed)  # type: ignore[union-attr]
        for name, parameter in parameters.items():
            path, _, last = name.rpartition(".")
            setattr(joined.get_submodule(path), last, parameter)
        return joined

    @property
    def together(self) -> MultiTaskModule:
        """A network with the structure of all, not for calling."""
        if self.stack is None:
            return self.separate[0]  # type: ignore[index, return-value]
        return self.stack.together  # type: ignore[return-value]

    @property
    def heads(self) -> Heads:
        """The heads of all networks, not for calling."""
        return self.together.heads

    def forward(self, X: Tensor) -> Tensor:
        """Return outputs (n_estimators, n, n_outputs) for inputs that all see."""
        if self.stack is None:
            return torch.stack([module(X) for module in self.separate])  # type: ignore[union-attr]
        X = self.apply_inputs(X)
        if self.encoder is not None:
            return self._run_joined(X)
        return self.stack.call("forward", (None,), X)  # type: ignore[no-any-return]

    def each(self) -> Callable[[Tensor], Tensor]:
        """Return the map from each network's inputs to its outputs."""
        # It is for one thread.
        if self.stack is None:
            modules: Any = self.separate
            return lambda X: torch.stack(
                [module(x) for module, x in zip(modules, X, strict=True)]
            )
        run = self._run_joined
        if self.encoder is None:
            run = self.stack.bind("forward", 0)
        if self.inputs is None:
            return run
        return lambda X: run(
            self.apply_inputs(X.flatten(0, 1)).unflatten(0, X.shape[:2])
        )

    def _run_joined(self, X: Tensor) -> Tensor:
        heads, encoder, weight = self.heads, self.encoder, self.heads.weight
        if self.together.makes_heads:
            weight = self.stack.call("head_weight", ())  # type: ignore[union-attr]
        b = (heads.bias + heads.prior).unsqueeze(1)
        X, linear = self.together.read(X)
        b = b if linear is None else b + linear
        H = encoder(X)  # type: ignore[misc]
        return torch.baddbmm(b, H, weight.mT)

    def first(self, n: int) -> "Members":
        """Return the first of stacked networks, on the same memory."""
        memo: dict[int, Any] = {id(self.encoder): None}
        memo |= {id(x): x for x in (self.inputs, self._encoder_spec)}
        memo |= {id(self.stack): self.stack.first(n)}  # type: ignore[union-attr]
        members = copy.deepcopy(self, memo)
        members.n_estimators = n
        members._join_encoders()
        return members

    def reorder(self, order: NDArray[np.intp]) -> None:
        """Put stacked networks into another order, in the memory where they are."""
        if self.stack is not None:
            self.stack.reorder(order)

    def penalty(self) -> Tensor | None:
        """Return the sum of what the networks add to their losses, or None."""
        if not self.penalised:
            return None
        if self.stack is None:
            penalties = [module.penalty() for module in self.separate]  # type: ignore[operator, union-attr]
            return torch.stack(penalties).sum()
        return self.stack.call("penalty", ()).sum()  # type: ignore[no-any-return]

    def after_epoch(self) -> None:
        """Let the relation of every network take note of an epoch."""
        if not self.together.follows_epochs:
            return
        if self.separate is not None:
            for module in self.separate:
                module.after_epoch()  # type: ignore[operator]
            return
        for i, state in enumerate(self.states()):
            module = self.stack.module(i)  # type: ignore[union-attr, assignment]
            module.after_epoch()  # type: ignore[operator]
            for name, value in module.relation.named_buffers():  # type: ignore[union-attr]
                state[f"module.relation.{name}"].copy_(value)

    def relation_matrix(self) -> Tensor | None:
        """Return what relations know of pairs of tasks, the mean over networks."""
        matrices = [self.member(i).relation_matrix() for i in range(self.n_estimators)]
        return None if matrices[0] is None else torch.stack(matrices).mean(dim=0)  # type: ignore[arg-type]

    def states(self) -> list[dict[str, Tensor]]:
        """Return views of the state of every network."""
        if self.stack is not None:
            return self.stack.states()
        return [
            {name: value.detach() for name, value in module.state_dict().items()}
            for module in self.separate  # type: ignore[union-attr]
        ]

    def member(self, i: int) -> MultiTaskModule:
        """Return a copy of one network, whole."""
        if self.stack is None:
            return copy.deepcopy(self.separate[i])  # type: ignore[index, return-value]
        module: MultiTaskModule = self.stack.module(i)  # type: ignore[assignment]
        module.inputs = copy.deepcopy(self.inputs)
        return module

    def gate_usage(self, X: Any) -> NDArray[np.float64]:
        """Return the mean weight of each expert in each task, over members."""
        # X of shape (n_samples, ...); returns (n_tasks, n_experts).
        usage = [self.member(i).gate_usage(X) for i in range(self.n_estimators)]
        return np.mean(usage, axis=0)  # type: ignore[no-any-return]


class StackedWeighting(WeightingModule):
    """Weightings of several members, computed at once."""

    def __init__(self, modules: Sequence[WeightingModule]) -> None:
        super().__init__()
        self.stack = StackedModules(modules, changing="")
        own_loss = type(modules[0]).own_loss
        self.has_own_loss = own_loss is not WeightingModule.own_loss

    def forward(self, losses: Tensor, present: Tensor | None) -> Tensor:
        """Return weights (n_estimators, n_tasks) for losses of that shape."""
        return self._call("forward", losses, present)  # type: ignore[return-value]

    def own_loss(self, losses: Tensor, present: Tensor | None) -> Tensor | None:
        """Return the sum of what the weightings minimise, or None."""
        if not self.has_own_loss:
            return None
        return self._call("own_loss", losses, present).sum()

    def _call(self, method: str, losses: Tensor, present: Tensor | None) -> Tensor:
        axis = 0 if present is not None and present.ndim == 2 else None
        return self.stack.call(method, (0, axis), losses, present)  # type: ignore[no-any-return]

    def first(self, n: int) -> "StackedWeighting":
        """Return the first weightings, on the same memory."""
        return copy.deepcopy(self, {id(self.stack): self.stack.first(n)})

    def after_epoch(self, losses: Tensor) -> None:
        """Show each weighting its losses, of shape (n_estimators, n_tasks)."""
        for i, state in enumerate(self.stack.states()):
            module: WeightingModule = self.stack.module(i)  # type: ignore[assignment]
            module.after_epoch(losses[i])
            for name, value in module.state_dict().items():
                state[f"module.{name}"].copy_(value)


def try_stacking(
    modules: Sequence[MultiTaskModule], encoder: Encoder, input_shape: tuple[int, ...]
) -> Members | None:
    """Return networks that are computed at once, where a trial goes well."""
    device = modules[0].heads.weight.device
    devices = [device] if device.type == "cuda" else []
    with torch.random.fork_rng(devices):
        for spec in (encoder, None):
            if _try_vmap(modules, spec, input_shape):
                return Members(modules, stacked=True, encoder=spec)
    return None


def _try_vmap(
    modules: Sequence[MultiTaskModule],
    encoder: Encoder | None,
    input_shape: tuple[int, ...],
) -> bool:
    """Return whether two of the networks do at once what they do one by one."""
    trial = [copy.deepcopy(module).double() for module in modules[:2]]
    for module in trial:  # heads start at zero, which would hide the rest
        nn.init.normal_(module.heads.weight)
        if module.sparse is not None:
            nn.init.normal_(module.sparse.features)
            nn.init.normal_(module.sparse.linear)
    X = torch.randn(2, 3, *input_shape, device=module.heads.weight.device).double()
    if module.code_columns is not None:
        X[..., module.code_columns] = 0
    before = [b.clone() for b in module.buffers()]
    module.train()(X[0])
    if not all(map(torch.equal, before, module.buffers())):
        return False
    try:
        expected = torch.stack([m.eval()(x) for m, x in zip(trial, X, strict=True)])
        members = Members([m.train() for m in trial], stacked=True, encoder=encoder)
        members.double().each()(X).sum().backward()
        outputs = members.eval().each()(X)
        seen_by_all = members(X[0])[0]
    except (IndexError, RuntimeError, TypeError, ValueError):
        return False  # what vmap or a layer cannot do has no type of its own
    return torch.allclose(outputs, expected) and torch.allclose(
        seen_by_all, expected[0]
    )
