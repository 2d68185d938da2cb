"""Cost of a step of every weighting, beside torchjd's engines and Python loops.

    python tests/benchmarks/weighting.py [--quick] [--cpu-time] [--only WORD ...]

prints one table: medians, ratios, targets; see speed.py for how it measures. ``--only``
keeps the networks whose name holds one of the words: "T=2", "T=8", "T=32", "T=128",
"width". Needs torchjd.

The network has a trunk 100-256-256 and 8 heads of 4 classes, batches of 256; then other
numbers of tasks, and a trunk 100-1024-1024. Contestants:

plain
    The plain loop of speed.py: one backward pass of the sum of losses.
every name of ``WEIGHTING``
    skmtl with ``weighting=name``; ``at parameters`` with gradients at the parameters.
heads in a loop
    As plain, with a ModuleList of heads and one loss call per task: the network of all
    that follow.
mtl_backward
    torchjd's ``mtl_backward`` and ``jac_to_grad``, on the parameters of the trunk.
autogram
    torchjd's engine for Gramians of the trunk's parameters, then a backward pass of the
    weighted sum.
T passes
    One backward pass per task to the features, or to the trunk's parameters, their
    Gramian, and a weighting of torchjd, as LibMTL goes about it.

Those of torchjd project with scipy, as skmtl does, and not with its GPL-licensed extra.
"""

import argparse
import sys
import warnings
from collections.abc import Callable
from typing import Any

import torch
from measure import Contestant, Row, fits, print_report, ratio_row, use_cpu_time
from sharing import mlp
from speed import DECAY, LEARNING_RATE, Problem
from threadpoolctl import threadpool_limits
from torch import Tensor, nn
from torch.nn import functional as F
from torchjd import aggregation
from torchjd.autogram import Engine
from torchjd.autojac import jac_to_grad, mtl_backward

from skmtl.weighting import WEIGHTING
from skmtl.weighting._gramian_solvers import project_to_dual_cone

N_CLASSES, BATCH = 4, 256
#: Steps whose cost has a target, in terms of the plain step.
BY_LOSSES = ["equal", "static", "log_sum", "uncertainty", "uw_so", "dwa", "rlw", "gls"]
BY_LOSSES += ["stch", "imtl_l", "target_kl"]
FAST = ["upgrad", "pcgrad", "mgda", "imtl_g", "aligned_mtl", "gradnorm"]
ITERATIVE = ["fairgrad", "cagrad"]
#: torchjd's names of weightings that need nothing else installed.
PEERS = {
    "upgrad": "UPGrad",
    "pcgrad": "PCGrad",
    "mgda": "MGDA",
    "imtl_g": "IMTLG",
    "aligned_mtl": "AlignedMTL",
}


def target(name: str, n_tasks: int, width: int) -> float | None:
    """Return how many plain steps a step may cost."""
    if name in BY_LOSSES:
        return 1.05
    if name == "famo":
        return 1.35
    if name in FAST and n_tasks in (8, 32):
        return 2.2 if n_tasks == 32 else 1.5 if width > 256 else 1.6
    return 2.5 if name in ITERATIVE and (n_tasks, width) == (8, 256) else None


# -------------------------------------------------------------------------- peers
class Network(nn.Module):
    """A trunk and one head of several classes per task."""

    def __init__(self, n_inputs: int, n_tasks: int, width: int) -> None:
        super().__init__()
        self.trunk = mlp(n_inputs, width)
        self.heads = nn.ModuleList(nn.Linear(width, N_CLASSES) for _ in range(n_tasks))
        for parameter in self.heads.parameters():  # not zero: solvers divide by lengths
            nn.init.normal_(parameter, std=1e-3)

    def losses(self, H: Tensor, y: Tensor) -> list[Tensor]:
        return [F.cross_entropy(h(H), y[:, t]) for t, h in enumerate(self.heads)]


#: From features and losses to the gradients of all parameters.
Backward = Callable[[Tensor, list[Tensor]], None]


def project(U: Tensor, gramian: Tensor) -> Tensor:
    rows = project_to_dual_cone(U.double().numpy(), gramian.double().numpy())
    return torch.as_tensor(rows).to(U)


def from_torchjd(name: str, kind: str = "") -> Any:
    """Return torchjd's weighting or aggregator of one of our names."""
    settings = {"projector": project} if name == "upgrad" else {}
    return getattr(aggregation, PEERS[name] + kind)(**settings)


def summed(network: Network) -> Backward:
    return lambda H, losses: torch.stack(losses).sum().backward()


def by_mtl_backward(network: Network, name: str) -> Backward:
    aggregator, shared = from_torchjd(name), list(network.trunk.parameters())
    own = [list(head.parameters()) for head in network.heads]

    def backward(H: Tensor, losses: list[Tensor]) -> None:
        mtl_backward(losses, features=H, tasks_params=own, shared_params=shared)
        jac_to_grad(shared, aggregator)

    return backward


def by_autogram(network: Network, name: str) -> Backward:
    weighting = from_torchjd(name, "Weighting")
    engine = Engine(network.trunk, batch_dim=None)

    def backward(H: Tensor, losses: list[Tensor]) -> None:
        L = torch.stack(losses)
        L.backward(weighting(engine.compute_gramian(L)))

    return backward


def at_features(network: Network, name: str) -> Backward:
    weighting = from_torchjd(name, "Weighting")

    def backward(H: Tensor, losses: list[Tensor]) -> None:
        rows = []
        for t, loss in enumerate(losses):
            own = list(network.heads[t].parameters())
            g, *grads = torch.autograd.grad(loss, [H, *own], retain_graph=True)
            rows.append(g.flatten())
            for parameter, grad in zip(own, grads, strict=True):
                parameter.grad = grad
        J = torch.stack(rows)
        H.backward((weighting(J @ J.T) @ J).view_as(H))

    return backward


def at_parameters(network: Network, name: str) -> Backward:
    weighting = from_torchjd(name, "Weighting")
    shared = list(network.trunk.parameters())

    def backward(H: Tensor, losses: list[Tensor]) -> None:
        rows = []
        for t, loss in enumerate(losses):
            own = list(network.heads[t].parameters())
            grads = torch.autograd.grad(loss, [*shared, *own], retain_graph=True)
            rows.append(torch.cat([g.flatten() for g in grads[: len(shared)]]))
            for parameter, grad in zip(own, grads[len(shared) :], strict=True):
                parameter.grad = grad
        J = torch.stack(rows)
        parts = (weighting(J @ J.T) @ J).split([p.numel() for p in shared])
        for parameter, part in zip(shared, parts, strict=True):
            parameter.grad = part.view_as(parameter)

    return backward


def train(p: Problem, make: Callable[[Network], Backward], epochs: int) -> None:
    """Train as the plain loop of speed.py does, whatever goes backward."""
    torch.manual_seed(0)
    network = Network(p.n_features, p.n_tasks, p.layers[-1])
    backward = make(network)
    optimizer = torch.optim.AdamW(
        network.parameters(), lr=LEARNING_RATE, weight_decay=DECAY, fused=True
    )
    X, Y = torch.from_numpy(p.X), torch.from_numpy(p.Y)
    total = torch.zeros(())
    for _ in range(epochs):
        total = torch.zeros(())
        for rows in torch.randperm(p.n).split(p.batch_size):
            optimizer.zero_grad()
            H = network.trunk(X.index_select(0, rows))
            losses = network.losses(H, Y.index_select(0, rows))
            backward(H, losses)
            optimizer.step()
            total += torch.stack(losses).detach().sum() * len(rows)
    p.looped_loss = total.item() / p.n / p.n_tasks


# -------------------------------------------------------------------- contestants
def contestants(p: Problem) -> dict[str, Contestant]:
    """Return the plain loop, skmtl with every weighting, and the peers."""

    def looped(make: Callable[..., Backward], *names: str) -> Contestant:
        return lambda epochs: train(p, lambda n: make(n, *names), epochs)

    def ours(weighting: Any) -> Contestant:
        return lambda epochs: p.model(epochs, weighting=weighting)

    models = {"plain": p.plain} | {name: ours(name) for name in sorted(WEIGHTING)}
    for name in PEERS:
        models[f"{name} at parameters"] = ours(
            WEIGHTING[name](gradient_at="parameters")
        )
    models["heads in a loop"] = looped(summed)
    for name in PEERS:
        models[f"mtl_backward, {name}"] = looped(by_mtl_backward, name)
    models["autogram, upgrad"] = looped(by_autogram, "upgrad")
    for name in ("upgrad", "pcgrad"):
        models[f"T passes to features, {name}"] = looped(at_features, name)
        models[f"T passes to parameters, {name}"] = looped(at_parameters, name)
    return models


def check_twins(p: Problem, models: dict[str, Contestant]) -> None:
    """Raise an error where models do not train the same network on the same sum."""
    p.plain(1)
    models["heads in a loop"](1)
    losses = [p.plain_loss, p.looped_loss, p.model(1).loss_]
    if max(losses) - min(losses) > 0.05:
        raise AssertionError(f"Equal weights end at losses {losses}, not at one.")


def cost(n_tasks: int, width: int, quick: bool) -> list[Row]:
    """Compare steps on one network."""
    n_steps = 20 if n_tasks * width <= 8 * 256 else 5
    p = Problem(n_steps * BATCH, 100, n_tasks, N_CLASSES, (width, width), BATCH)
    models = contestants(p)
    check_twins(p, models)
    longer = 3 if n_tasks <= 32 else 2  # autogram takes seconds per step
    epochs, _ = fits(models, (1, longer), 3 if quick else 9)
    times = {name: [t / n_steps for t in values] for name, values in epochs.items()}
    case, rows = f"T={n_tasks}, width {width}", []
    for name in models:
        limit = target(name, n_tasks, width)
        if name != "plain":
            row = ratio_row(case, f"{name} / plain", times[name], times["plain"], limit)
            rows.append(row)
    for name in PEERS:
        mine, theirs = times[f"{name} at parameters"], times[f"mtl_backward, {name}"]
        measure = f"{name} at parameters / mtl_backward"
        rows.append(ratio_row(case, measure, mine, theirs, 1.0))
    return rows


NETWORKS = {
    "T=2": (2, 256),
    "T=8": (8, 256),
    "T=32": (32, 256),
    "T=128": (128, 256),
    "width": (8, 1024),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="fewer rounds")
    parser.add_argument("--only", nargs="*", metavar="WORD", help="networks by name")
    parser.add_argument("--cpu-time", action="store_true", help="on a busy machine")
    options = parser.parse_args()
    if options.cpu_time:
        use_cpu_time()
    names = list(NETWORKS)
    if options.only is not None:
        names = [n for n in names if any(word in n for word in options.only)]
    torch.set_num_threads(1)
    rows: list[Row] = []
    with threadpool_limits(1), warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # solvers of a short fit
        for name in names:
            print(f"{name} ...", file=sys.stderr, flush=True)
            rows += cost(*NETWORKS[name], options.quick)
    print_report(rows)


if __name__ == "__main__":
    main()
