"""How many parameters of a network its tasks share, layer by layer."""

from collections import Counter
from collections.abc import Iterator
from typing import Any

import torch
from torch import nn

from skmtl.encoder import EncoderModule
from skmtl.training import Members, MultiTaskModule, MultiTaskNet, use_seed


def count_parameters(net: MultiTaskNet) -> dict[str, tuple[int, int, int, int]]:
    """Return the numbers of parameters of every layer, and of all together."""
    module, n_estimators = net.module_, 1
    if isinstance(module, Members):
        n_estimators, module = module.n_estimators, module.member(0)
    n_single = _count_encoder(net)
    shared, per_task, separate = Counter[str](), Counter[str](), Counter[str]()
    common = set(module.shared_parameters())
    rows = dict.fromkeys(f"layer {i + 1}" for i in range(len(n_single.steps())))
    for parameter, row in _make_rows(module):
        rows[row] = None
        counts = shared if parameter in common else per_task
        counts[row] += parameter.numel()
    for parameter, row in _find_layers(n_single):
        separate[row] += module.n_tasks * parameter.numel()
    if module.sparse is not None:
        separate["sparse"] = sum(p.numel() for p in module.sparse.parameters())
        separate["sparse"] += shared["sparse"] * (module.n_tasks - 1)
    separate["heads"] = module.heads.n_outputs * (n_single.width + 1)
    table = {
        row: (shared[row], per_task[row], shared[row] + per_task[row], separate[row])
        for row in dict.fromkeys([*rows, *separate])
    }
    totals = (sum(column) for column in zip(*table.values(), strict=True))
    table["total"] = tuple(totals)  # type: ignore[assignment]
    return {
        row: tuple(n_estimators * count for count in counts)  # type: ignore[misc]
        for row, counts in table.items()
    }


def _count_encoder(net: MultiTaskNet) -> EncoderModule:
    """Build the encoder as a network of one task has it."""
    module: Any = net.module_
    module = module.together if isinstance(module, Members) else module
    shape = module.encoded_shape
    with use_seed(0, torch.device("cpu")):
        return net.module__encoder.build(shape, 1)  # type: ignore[no-any-return]


def _make_rows(module: MultiTaskModule) -> Iterator[tuple[nn.Parameter, str]]:
    """Yield every parameter of a network with the name of its layer."""
    layers: dict[nn.Parameter, str] = {}
    for part in module.sharing.modules():
        if isinstance(part, EncoderModule):
            layers.update(_find_layers(part))
    for name, parameter in module.named_parameters():
        names = name.split(".")
        own = names[1] if names[0] == "sharing" else names[0]
        yield parameter, layers.get(parameter, own)


def _find_layers(encoder: EncoderModule) -> Iterator[tuple[nn.Parameter, str]]:
    """Yield the parameters of an encoder with the names of its steps."""
    steps = {
        parameter: f"layer {i}"
        for i, step in enumerate(encoder.steps(), start=1)
        for parameter in step.parameters()
    }
    for name, parameter in encoder.named_parameters():
        yield parameter, steps.get(parameter, name.split(".")[0])
