"""Speed of the sharing strategies against each other and against looped PyTorch.

    python tests/benchmarks/sharing.py [--quick] [--cpu-time] [--only WORD ...]
                                       [--images FILE.npz]

prints one table: medians, ratios, targets; see speed.py for how it measures.

strategies
    An epoch of every strategy against ``hard`` on 20,000 x 100 with 2, 8 and 64 binary
    tasks. ``hard`` has layers 256-256; the others have the same total width:
    256 units per layer over all copies of the network, at least two in each, and over
    all task tokens, at least four. That is how the papers on experts compare (Ma et
    al., KDD 2018, hold the size of the model fixed). ``full width`` gives each of 8
    experts the 256-256 of ``hard``, and a task token its default width of 32.
growth
    The same with 512 tasks on 2,000 rows, and against itself with 8 tasks.
looped
    The stacked strategies against modules that do the same mathematics the usual way:
    a ModuleList of columns or experts, gates and heads, and Python loops over them.
images
    Accuracy and seconds with the CNN encoder on two overlapping digits; FILE.npz holds
    X (n, height, width) of bytes, Y (n, 2) and split (n,), 0 to train and 2 to test.
"""

import argparse
import statistics
import sys
import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from measure import (
    Contestant,
    Row,
    fits,
    print_report,
    ratio_row,
    seconds,
    use_cpu_time,
)
from speed import DECAY, LEARNING_RATE, Problem, plain_mlp
from threadpoolctl import threadpool_limits
from torch import Tensor, nn
from torch.nn import functional as F

from skmtl import MultiTaskClassifier
from skmtl.encoder import CNN
from skmtl.sharing import (
    CGC,
    MTAN,
    PLE,
    SHARING,
    Adapter,
    AdaTT,
    CrossStitch,
    DSelectK,
    Grouped,
    MMoE,
    Sharing,
    TaskToken,
)

N_EXPERTS = 8
WIDTH = 256
#: Strategies whose arithmetic grows with the square of the number of tasks.
QUADRATIC = {"adatt", "chain", "cross_stitch", "sluice"}
#: Strategies with experts, for which an epoch with 8 tasks has a target.
EXPERTS = {"mmoe", "cgc", "ple", "dselect_k"}


def problem(n_tasks: int, n: int = 20_000) -> Problem:
    return Problem(n, 100, n_tasks, 2, (WIDTH, WIDTH), 256)


# ------------------------------------------------------------------ the strategies
def contestants(n_tasks: int) -> dict[str, tuple[str | Sharing, int]]:
    """Return every strategy with the number of copies that share the width."""
    groups = tuple(tuple(range(i, n_tasks, 2)) for i in range(2))
    n_heads = max(1, 32 // n_tasks)  # 8 features of a token each, where it has them
    special: dict[str, tuple[str | Sharing, int]] = {
        "mmoe": (MMoE(n_experts=N_EXPERTS), N_EXPERTS),
        "dselect_k": (DSelectK(n_experts=N_EXPERTS), N_EXPERTS),
        "cgc": (CGC(n_shared=1, n_own=1), n_tasks + 1),
        "ple": (PLE(n_shared=1, n_own=1), n_tasks + 1),
        "adatt": (AdaTT(), n_tasks),
        "grouped": (Grouped(groups), 2),
        "hard": ("hard", 1),
        "chain": ("chain", 1),
        "task_token": (TaskToken(max(4, WIDTH // n_tasks), n_heads=n_heads), 1),
        "learned_branching": ("learned_branching", min(4, n_tasks)),
        "adapter": (Adapter(rank=min(4, max(2, WIDTH // n_tasks))), n_tasks),
    }
    return {name: special.get(name, (name, n_tasks)) for name in SHARING}


def fitted(p: Problem, sharing: str | Sharing, width: int) -> Contestant:
    encoder = plain_mlp((width, width))
    return lambda epochs: p.model(epochs, sharing=sharing, encoder=encoder)


def models(p: Problem) -> dict[str, Contestant]:
    ours = {
        name: fitted(p, sharing, max(2, WIDTH // copies))
        for name, (sharing, copies) in contestants(p.n_tasks).items()
    }
    ours["mmoe, full width"] = fitted(p, MMoE(n_experts=N_EXPERTS), WIDTH)
    ours["task_token, full width"] = fitted(p, TaskToken(), WIDTH)
    return ours


def strategies(quick: bool) -> list[Row]:
    """Every strategy against hard."""
    rows: list[Row] = []
    for n_tasks in (2, 8, 64):
        p = problem(n_tasks)
        ours = models(p)
        times, _ = fits(ours, (1, 2), 1 if quick else 3)
        case = f"20k x 100, T={n_tasks}"
        for name in ours:
            target = 6.0 if n_tasks == 8 and name in EXPERTS else None
            rows.append(
                ratio_row(case, f"{name} / hard", times[name], times["hard"], target)
            )
    return rows


def growth(quick: bool) -> list[Row]:
    """Every strategy with 512 tasks, against hard and against itself with 8."""
    few, many = models(problem(8, 2_000)), models(problem(512, 2_000))
    ours = {f"{name} {t}": m[name] for t, m in ((8, few), (512, many)) for name in m}
    times, _ = fits(ours, (1, 3), 1 if quick else 3)
    rows: list[Row] = []
    for name in few:
        most, least = times[f"{name} 512"], times[f"{name} 8"]
        target = None if name in QUADRATIC else 8.0
        hard = times["hard 512"]
        rows.append(ratio_row("2k x 100, T=512", f"{name} / hard", most, hard))
        rows.append(ratio_row("growth", f"{name}, T=512 / T=8", most, least, target))
    return rows


# ---------------------------------------------------------------- looped PyTorch
class Looped(nn.Module):
    """One head per task in a ModuleList; subclasses return a list of features."""

    def __init__(self, n_tasks: int, width: int) -> None:
        super().__init__()
        self.heads = nn.ModuleList(nn.Linear(width, 1) for _ in range(n_tasks))
        for parameter in self.heads.parameters():  # as skmtl's start
            nn.init.zeros_(parameter)

    def forward(self, X: Tensor) -> list[Tensor]:
        features = self.features(X)
        return [head(H) for head, H in zip(self.heads, features, strict=True)]


def layer(n_inputs: int, width: int) -> nn.Sequential:
    return nn.Sequential(nn.Linear(n_inputs, width), nn.ReLU())


def mlp(n_inputs: int, width: int) -> nn.Sequential:
    return nn.Sequential(layer(n_inputs, width), layer(width, width))


class LoopedHard(Looped):
    def __init__(self, n_inputs: int, n_tasks: int, width: int) -> None:
        super().__init__(n_tasks, width)
        self.trunk = mlp(n_inputs, width)

    def features(self, X: Tensor) -> list[Tensor]:
        return [self.trunk(X)] * len(self.heads)


class LoopedCrossStitch(Looped):
    def __init__(self, n_inputs: int, n_tasks: int, width: int) -> None:
        super().__init__(n_tasks, width)
        self.columns = nn.ModuleList(mlp(n_inputs, width) for _ in range(n_tasks))
        start = torch.full((n_tasks, n_tasks), 0.1 / (n_tasks - 1))
        start.fill_diagonal_(0.9)
        self.mixing = nn.ParameterList(start.clone() for _ in range(2))

    def features(self, X: Tensor) -> list[Tensor]:
        H = [X] * len(self.columns)
        for i, mixing in enumerate(self.mixing):
            H = [column[i](h) for column, h in zip(self.columns, H, strict=True)]
            H = list(torch.tensordot(mixing, torch.stack(H), dims=1))
        return H


class LoopedMMoE(Looped):
    def __init__(self, n_inputs: int, n_tasks: int, width: int) -> None:
        super().__init__(n_tasks, width)
        self.experts = nn.ModuleList(mlp(n_inputs, width) for _ in range(N_EXPERTS))
        self.gates = nn.ModuleList(
            nn.Linear(n_inputs, N_EXPERTS) for _ in range(n_tasks)
        )

    def features(self, X: Tensor) -> list[Tensor]:
        H = torch.stack([expert(X) for expert in self.experts], dim=1)
        weights = [gate(X).softmax(dim=1) for gate in self.gates]
        return [(G.unsqueeze(2) * H).sum(dim=1) for G in weights]


class LoopedPLE(Looped):
    """Two levels, one own expert per task and one shared expert."""

    def __init__(self, n_inputs: int, n_tasks: int, width: int) -> None:
        super().__init__(n_tasks, width)
        self.own, self.shared, self.gates = (nn.ModuleList() for _ in range(3))
        for fan_in in (n_inputs, width):
            self.own.append(nn.ModuleList(layer(fan_in, width) for _ in range(n_tasks)))
            self.shared.append(layer(fan_in, width))
            self.gates.append(
                nn.ModuleList(nn.Linear(fan_in, 2) for _ in range(n_tasks))
            )
        self.shared_gate = nn.Linear(n_inputs, n_tasks + 1)

    def features(self, X: Tensor) -> list[Tensor]:
        inputs, common = [X] * len(self.heads), X
        for level in range(2):
            own = [e(h) for e, h in zip(self.own[level], inputs, strict=True)]
            shared = self.shared[level](common)
            weights = [
                gate(h).softmax(dim=1)
                for gate, h in zip(self.gates[level], inputs, strict=True)
            ]
            inputs = [
                G[:, :1] * h + G[:, 1:] * shared
                for G, h in zip(weights, own, strict=True)
            ]
            if level == 0:
                G = self.shared_gate(X).softmax(dim=1)
                H = torch.stack([*own, shared], dim=1)
                common = (G.unsqueeze(2) * H).sum(dim=1)
        return inputs


class LoopedMTAN(Looped):
    def __init__(
        self, n_inputs: int, n_tasks: int, width: int, bottleneck: int
    ) -> None:
        super().__init__(n_tasks, width)
        self.trunk = mlp(n_inputs, width)
        self.attention = nn.ModuleList(
            nn.ModuleList(
                nn.Sequential(
                    layer(fan_in, bottleneck),
                    nn.Linear(bottleneck, width),
                    nn.Sigmoid(),
                )
                for _ in range(n_tasks)
            )
            for fan_in in (width, 2 * width)
        )

    def features(self, X: Tensor) -> list[Tensor]:
        first = self.trunk[0](X)
        second = self.trunk[1](first)
        A = [attend(first) * first for attend in self.attention[0]]
        return [
            attend(torch.cat([second, a], dim=1)) * second
            for attend, a in zip(self.attention[1], A, strict=True)
        ]


def train_looped(p: Problem, module: Callable[[], nn.Module], epochs: int) -> None:
    """Train as the plain loop of speed.py does, with a Python loop over the losses."""
    torch.manual_seed(0)
    network = module()
    optimizer = torch.optim.AdamW(
        network.parameters(), lr=LEARNING_RATE, weight_decay=DECAY, fused=True
    )
    X, Y = torch.from_numpy(p.X), torch.from_numpy(p.Y).float()
    for _ in range(epochs):
        total = torch.zeros(())
        for rows in torch.randperm(p.n).split(p.batch_size):
            optimizer.zero_grad()
            outputs, y = network(X.index_select(0, rows)), Y.index_select(0, rows)
            losses = [
                F.binary_cross_entropy_with_logits(Z[:, 0], y[:, t])
                for t, Z in enumerate(outputs)
            ]
            loss = torch.stack(losses).sum()
            loss.backward()
            optimizer.step()
            total += loss.detach() * len(rows)
        p.plain_loss = total.item() / p.n / p.n_tasks


def looped(quick: bool) -> list[Row]:
    """Stacked strategies against the same mathematics in Python loops."""
    rows: list[Row] = []
    for n_tasks in (8, 64):
        p = problem(n_tasks)
        shape = (p.n_features, n_tasks)
        width = {
            "hard": WIDTH,
            "cross_stitch": WIDTH // n_tasks,
            "mmoe": WIDTH // N_EXPERTS,
            "ple": max(2, WIDTH // (n_tasks + 1)),
            "mtan": max(8, WIDTH // n_tasks),
        }
        bottleneck = max(1, width["mtan"] // 8)
        ours: dict[str, str | Sharing] = {
            "hard": "hard",
            "cross_stitch": CrossStitch(),
            "mmoe": MMoE(n_experts=N_EXPERTS),
            "ple": PLE(n_shared=1, n_own=1),
            "mtan": MTAN(),
        }
        theirs: dict[str, Callable[[], nn.Module]] = {
            "hard": lambda s=shape, w=width: LoopedHard(*s, w["hard"]),
            "cross_stitch": lambda s=shape, w=width: LoopedCrossStitch(
                *s, w["cross_stitch"]
            ),
            "mmoe": lambda s=shape, w=width: LoopedMMoE(*s, w["mmoe"]),
            "ple": lambda s=shape, w=width: LoopedPLE(*s, w["ple"]),
            "mtan": lambda s=shape, w=width, b=bottleneck: LoopedMTAN(*s, w["mtan"], b),
        }
        for name in ours:
            target = None if n_tasks == 8 or name == "hard" else 0.5
            rows.append(
                against_loop(
                    p, name, ours[name], theirs[name], width[name], target, quick
                )
            )
    return rows


def against_loop(
    p: Problem,
    name: str,
    sharing: str | Sharing,
    module: Callable[[], nn.Module],
    width: int,
    target: float | None,
    quick: bool,
) -> Row:
    """Compare one strategy with its looped twin, after checking that they are twins."""
    ours = fitted(p, sharing, width)
    models: dict[str, Contestant] = {
        "stacked": ours,
        "looped": lambda epochs: train_looped(p, module, epochs),
    }
    twin = ours(1)
    sizes = [sum(w.numel() for w in m.parameters()) for m in (twin.module_, module())]
    train_looped(p, module, 1)
    if sizes[0] != sizes[1] or abs(twin.loss_ - p.plain_loss) > 0.03:
        raise AssertionError(
            f"{name} has {sizes[0]} parameters and ends at loss {twin.loss_:.3f}, the "
            f"looped one {sizes[1]} and {p.plain_loss:.3f}: they are not the same."
        )
    times, _ = fits(models, (1, 2), 1 if quick else 3)
    case = f"20k x 100, T={p.n_tasks}, width {width}"
    measure = f"{name} / looped"
    return ratio_row(case, measure, times["stacked"], times["looped"], target)


# -------------------------------------------------------------------------- images
def images(path: Path, quick: bool) -> None:
    """Print accuracy per task and seconds of a fit on two overlapping digits."""
    file = np.load(path)
    X = file["X"][:, None].astype(np.float32) / 255
    Y, train, test = file["Y"].astype(int), file["split"] == 0, file["split"] == 2
    table = [["sharing", "first", "second", "mean", "seconds", "parameters"]]
    for sharing in ("hard", MMoE(n_experts=4), "cross_stitch", "independent"):
        scores, times = [], []
        for seed in range(1 if quick else 3):
            est = MultiTaskClassifier(
                sharing,
                encoder=CNN((16, 32), hidden_layer_sizes=(64,)),
                max_iter=8,
                n_threads=1,
                random_state=seed,
            )
            times.append(seconds(lambda e=est: e.fit(X[train], Y[train])))
            scores.append((est.predict(X[test]) == Y[test]).mean(axis=0))
        first, second = np.mean(scores, axis=0)
        size = sum(w.numel() for w in est.module_.parameters())
        spent = statistics.median(times)
        table.append(
            [
                sharing if isinstance(sharing, str) else repr(sharing),
                f"{first:.3f}",
                f"{second:.3f}",
                f"{(first + second) / 2:.3f}",
                f"{spent:.1f}",
                f"{size:,}",
            ]
        )
        print(" ".join(table[-1]), file=sys.stderr, flush=True)
    for line in table:
        print("| " + " | ".join(line) + " |")


CASES = [strategies, growth, looped]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="fewer rounds")
    parser.add_argument("--only", nargs="*", metavar="WORD", help="cases by name")
    parser.add_argument("--cpu-time", action="store_true", help="on a busy machine")
    parser.add_argument("--images", type=Path, help="archive of overlapping digits")
    options = parser.parse_args()
    if options.cpu_time:
        use_cpu_time()
    cases = CASES
    if options.only is not None:
        cases = [c for c in cases if any(word in c.__name__ for word in options.only)]
    torch.set_num_threads(1)
    rows: list[Row] = []
    with threadpool_limits(1), warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # gates of a short fit
        for case in cases:
            print(f"{case.__name__} ...", file=sys.stderr, flush=True)
            rows += case(options.quick)
        if rows:
            print_report(rows)
        if options.images is not None:
            images(options.images, options.quick)


if __name__ == "__main__":
    main()
