"""What training computes, as functions that torch compiles."""

import functools
import re
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from types import FunctionType
from typing import Any

import torch
from torch import Tensor, fx, nn
from torch.fx.passes.split_module import split_module

from skmtl.training._module import ForwardPass, MultiTaskModule
from skmtl.training._torch_state import allow_reusable_graphs


@functools.cache
def check_compiles(backend: str, device_type: str) -> None:
    """Reject a backend of torch.compile that cannot compile here, by trying it."""
    backends = torch.compiler.list_backends(exclude_tags=())  # type: ignore[no-untyped-call]
    if backend not in backends:
        raise ValueError(
            "The 'compile' parameter must be a bool or a backend of torch.compile, one "
            f"of {backends}. Got {backend!r} instead."
        )
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of what torch itself imports
            compile_function(_try_compiling, backend)(
                torch.zeros(2, device=device_type)
            )
    except Exception as error:
        lines = str(error).partition("raised:\n")
        why = (lines[2] or lines[0]).strip().partition("\n")[0]
        raise ValueError(
            f"The 'compile' parameter cannot be used here, as torch.compile fails with "
            f"the backend {backend!r}: {re.sub('[.]$', '', why)}. Install what it "
            "lacks, such as a C++ compiler, or set compile=False."
        ) from error


def _try_compiling(X: Tensor) -> Tensor:
    return X.sin() + 1


def compile_function(
    function: Callable[..., Any], backend: Any, rows: int = 0
) -> Callable[..., Any]:
    """Return a function as torch compiles it, for any number of rows."""
    # What is compiled belongs to the returned function alone, and goes with it.
    # Torch keeps what it compiles with the code of the function that is called, and
    # gives up where there is much of it: a copy of the code is forgotten with the copy.
    code = function.__code__.replace()
    compiled = torch.compile(FunctionType(code, function.__globals__), backend=backend)

    def call(*arguments: Any) -> Any:
        torch._dynamo.maybe_mark_dynamic(arguments[-1], rows)
        return compiled(*arguments)

    return call


@contextmanager
def use_compiler(backend: str | None) -> Iterator[None]:
    """Let torch compile so that graphs can be walked twice."""
    with nullcontext() if backend is None else allow_reusable_graphs():
        yield


def compile_forward(
    backend: str | None, task_by_task: bool
) -> Callable[[MultiTaskModule, Tensor], ForwardPass]:
    """Return what makes the trace of a module."""
    if backend is None:
        return MultiTaskModule.trace
    return compile_function(
        MultiTaskModule.trace, PartitionedBackend(backend) if task_by_task else backend
    )


class PartitionedBackend:
    """Compiles a graph in parts that end where it has outputs."""

    # What is compiled at once has no gradients of one output at another. Part by part,
    # a graph has those that it would have without compilation.

    def __init__(self, backend: str) -> None:
        self.compile = torch._dynamo.lookup_backend(backend)

    def __call__(self, module: fx.GraphModule, inputs: list[Any]) -> Callable[..., Any]:
        """Compile a graph that torch has traced."""
        part = _split_graph(module.graph)
        if not any(part.values()):
            return self.compile(module, inputs)  # type: ignore[no-any-return]
        whole = split_module(module, None, part.__getitem__)  # type: ignore[arg-type]
        for name, child in list(whole.named_children()):
            setattr(whole, name, _Compiled(child, self.compile))
        return whole


def _split_graph(graph: fx.Graph) -> dict[fx.Node, int]:
    """Return the part of each node: the most outputs on a way to it."""
    outputs = set(graph.output_node().all_input_nodes)
    part: dict[fx.Node, int] = {}
    for node in graph.nodes:
        before = (n for n in node.all_input_nodes if n.op != "placeholder")
        part[node] = max((part[n] + (n in outputs) for n in before), default=0)
    return part


def _leaf(value: object) -> Any:
    """Return an input, if it is a tensor that others make, without their graph."""
    if not isinstance(value, Tensor) or value.is_leaf:
        return value
    return value.detach().requires_grad_()


class _Compiled(nn.Module):
    """A part of a graph, compiled."""

    def __init__(self, part: Any, compile: Callable[..., Any]) -> None:
        super().__init__()
        nodes = part.graph.nodes
        inputs = [
            _leaf(node.meta["example_value"])
            for node in nodes
            if node.op == "placeholder"
        ]
        (output,) = part.graph.output_node().args
        self.single = not isinstance(output, tuple)
        if self.single:
            part.graph.output_node().args = ((output,),)
            part.recompile()
        self.run = compile(part, inputs)

    def forward(self, *arguments: Any) -> Any:
        outputs = self.run(*arguments)
        return outputs[0] if self.single else outputs
