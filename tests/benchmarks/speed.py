"""Speed of skmtl against a plain torch loop, skorch and scikit-learn's MLP.

    python tests/benchmarks/speed.py [--quick] [--memmap] [--cpu-time] [--only WORD ...]
                                     [--device DEVICE] [--precision PRECISION]

prints one table: medians, ratios, targets. ``--quick`` measures fewer rounds;
``--memmap`` adds the fits on 4 GB files, which are written to a temporary folder (set
TMPDIR to choose the disk) and deleted; ``--cpu-time`` counts CPU time instead of the
wall's, for a machine with other work (imports stay on the wall's clock); ``--only``
keeps the cases whose name holds one of the words; ``--device cuda`` lets networks
compute on a GPU, without scikit-learn's, and adds a million rows and up to 20,000
tasks; ``--precision bf16`` lets skmtl and the plain loop compute in bfloat16 where
torch finds it safe. skmtl must be importable: installed, or the repository's root in
PYTHONPATH.

How it measures. Contestants take turns (A B C, B C A, ...), so that a busy machine
slows all of them alike, and a ratio is the median over rounds of the ratio within a
round. The time of an epoch is (fit of E2 epochs - fit of E1 epochs) / (E2 - E1), the
same for every contestant: what a fit costs once is left out of it, and shows in the
whole fit of E2 epochs. All of them run on one thread, in float32 unless said otherwise.
On a GPU the clock is read once the card has nothing left to do.

Contestants, all with AdamW at the same learning rate and decay, new order each epoch:

plain
    A hand-written loop of the same mathematics: one permutation per epoch, batches by
    ``index_select``, data and orders on the device, all heads in one ``nn.Linear``, one
    loss call for all tasks (one logit and binary cross-entropy for binary tasks), fused
    AdamW, and the running loss kept as a tensor.
skorch
    ``NeuralNet`` with its default iterator and callbacks, the same module, loss and
    optimizer; no validation split, no printing.
MLPClassifier
    scikit-learn's network on the first task alone, or on all tasks where they are
    binary (its multilabel mode); Adam.
"""

import argparse
import itertools
import os
import statistics
import subprocess
import sys
import tempfile
import warnings
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from shutil import disk_usage

import numpy as np
import torch
from measure import (
    Contestant,
    Row,
    fits,
    print_report,
    ratio_row,
    seconds,
    show_seconds,
    turns,
    use_cpu_time,
)
from sklearn.exceptions import ConvergenceWarning
from sklearn.neural_network import MLPClassifier
from skorch import NeuralNet
from threadpoolctl import threadpool_limits
from torch import Tensor, nn
from torch.nn import functional as F

import skmtl
from skmtl import MultiTaskClassifier
from skmtl.encoder import MLP

LEARNING_RATE = 1e-3
DECAY = 1e-2
#: Where the networks compute, and how; options may change it.
RUN = {"device": "cpu", "precision": "float32"}
MEMMAP_BYTES = 4_000_000_000
#: (rows, features) of the 4 GB files: wide, and long, where labels take most memory.
MEMMAP_SHAPES = [(1_000_000, 1_000), (10_000_000, 100)]


# ---------------------------------------------------------------- the problem
def plain_mlp(layers: Sequence[int]) -> MLP:
    """Return an encoder with nothing but layers, as the other contestants have."""
    return MLP(
        layers,
        dropout=0,
        scale=None,
        missing_inputs=None,
        max_levels=0,
        numeric_embedding=None,
    )


@dataclass
class Problem:
    """Random tasks that depend on the inputs, and the network for them."""

    n: int
    n_features: int
    n_tasks: int
    n_classes: int
    layers: tuple[int, ...]
    batch_size: int
    X: np.ndarray = field(init=False)
    Y: np.ndarray = field(init=False)

    def __post_init__(self) -> None:
        rng = np.random.default_rng(0)
        self.X = rng.standard_normal((self.n, self.n_features), dtype=np.float32)
        W = rng.standard_normal((self.n_features, self.n_tasks))
        Z = self.X @ W / np.sqrt(self.n_features)
        Z += 0.5 * rng.standard_normal(Z.shape)
        cuts = np.quantile(Z, np.linspace(0, 1, self.n_classes + 1)[1:-1])
        self.Y = np.digitize(Z, cuts)

    @property
    def binary(self) -> bool:
        return self.n_classes == 2

    def module(self) -> nn.Sequential:
        widths = [self.n_features, *self.layers]
        steps: list[nn.Module] = []
        for fan_in, width in itertools.pairwise(widths):
            steps += [nn.Linear(fan_in, width), nn.ReLU()]
        head = nn.Linear(
            widths[-1], self.n_tasks * (1 if self.binary else self.n_classes)
        )
        nn.init.zeros_(head.weight)
        nn.init.zeros_(head.bias)
        return nn.Sequential(*steps, head)

    def loss(self, Z: Tensor, y: Tensor) -> Tensor:
        """Sum over tasks of the mean loss."""
        if self.binary:
            mean = F.binary_cross_entropy_with_logits(Z, y)
        else:
            mean = F.cross_entropy(Z.view(-1, self.n_classes), y.view(-1))
        return mean * self.n_tasks

    # ------------------------------------------------------------ contestants
    def plain(self, epochs: int) -> None:
        torch.manual_seed(0)
        device, lower = RUN["device"], RUN["precision"] == "bf16"
        module = self.module().to(device)
        optimizer = torch.optim.AdamW(
            module.parameters(), lr=LEARNING_RATE, weight_decay=DECAY, fused=True
        )
        X, Y = (torch.from_numpy(A).to(device) for A in (self.X, self.Y))
        if self.binary:
            Y = Y.float()
        for _ in range(epochs):
            total = torch.zeros((), device=device)
            order = torch.randperm(self.n, device=device)
            for rows in order.split(self.batch_size):
                optimizer.zero_grad()
                with torch.autocast(device, torch.bfloat16, enabled=lower):
                    Z = module(X.index_select(0, rows))
                loss = self.loss(Z.float(), Y.index_select(0, rows))
                loss.backward()
                optimizer.step()
                total += loss.detach() * len(rows)
            self.plain_loss = total.item() / self.n / self.n_tasks

    def skorch(self, epochs: int) -> None:
        torch.manual_seed(0)
        y = self.Y.astype(np.float32) if self.binary else self.Y
        NeuralNet(
            self.module,
            criterion=lambda: self.loss,
            optimizer=torch.optim.AdamW,
            optimizer__weight_decay=DECAY,
            optimizer__fused=True,
            lr=LEARNING_RATE,
            max_epochs=epochs,
            batch_size=self.batch_size,
            iterator_train__shuffle=True,
            train_split=None,
            device=RUN["device"],
            verbose=0,
        ).fit(self.X, y)

    def sklearn(self, epochs: int) -> None:
        y = self.Y if self.binary else self.Y[:, 0]
        MLPClassifier(
            self.layers,
            batch_size=self.batch_size,
            max_iter=epochs,
            alpha=DECAY,
            learning_rate_init=LEARNING_RATE,
            tol=0.0,
            n_iter_no_change=10**6,
            random_state=0,
        ).fit(self.X, y)

    def model(self, epochs: int, **settings: object) -> MultiTaskClassifier:
        defaults: dict[str, object] = {
            "sharing": "hard",
            "encoder": plain_mlp(self.layers),
            "n_estimators": 1,
            "batch_size": self.batch_size,
            "max_iter": epochs,
            "alpha": DECAY,
            "learning_rate_init": LEARNING_RATE,
            "early_stopping": False,
            "n_iter_no_change": np.inf,
            **RUN,
            "n_threads": 1,
            "random_state": 0,
        }
        return MultiTaskClassifier(**defaults | settings).fit(self.X, self.Y)

    def skmtl(self, epochs: int) -> None:
        self.skmtl_loss = self.model(epochs).loss_


# -------------------------------------------------------------------- the cases
def fit_case(
    case: str,
    problem: Problem,
    epochs: tuple[int, int],
    rounds: int,
    targets: dict[str, float],
) -> list[Row]:
    """Compare an epoch and a whole fit with every other contestant."""
    others: dict[str, Contestant] = {"plain": problem.plain}
    if RUN["precision"] == "float32":
        others["skorch"] = problem.skorch
    if RUN["device"] == "cpu":
        others["MLPClassifier"] = problem.sklearn
    times, whole = fits({"skmtl": problem.skmtl, **others}, epochs, rounds)
    if abs(problem.skmtl_loss - problem.plain_loss) > 0.05:
        raise AssertionError(
            f"{case}: skmtl ends at loss {problem.skmtl_loss:.3f}, the plain loop at "
            f"{problem.plain_loss:.3f}: they do not do the same."
        )
    rows = [
        ratio_row(
            case, f"epoch / {name}", times["skmtl"], times[name], targets.get(name)
        )
        for name in others
    ]
    return rows + [
        ratio_row(case, f"fit of {epochs[1]} / {name}", whole["skmtl"], whole[name])
        for name in others
    ]


def large(quick: bool) -> list[Row]:
    """20,000 rows, where the network's own work dominates."""
    return fit_case(
        "20k x 100, T=4",
        Problem(20_000, 100, 4, 5, (256, 256), 256),
        (1, 4),
        3 if quick else 15,
        {"plain": 1.10, "skorch": 0.75, "MLPClassifier": 0.80},
    )


def medium(quick: bool) -> list[Row]:
    """4,000 rows."""
    return fit_case(
        "4k x 50, T=3",
        Problem(4_000, 50, 3, 3, (64, 64), 128),
        (2, 22),
        5 if quick else 15,
        {"plain": 1.25},
    )


def small(quick: bool) -> list[Row]:
    """500 rows, where overhead dominates; also in the precision that is the default."""
    problem = Problem(500, 20, 3, 3, (64, 64), 64)
    rounds = 7 if quick else 25
    rows = fit_case("500 x 20, T=3", problem, (2, 52), rounds, {"plain": 1.4})
    whole = turns(
        {
            precision: lambda p=precision: seconds(
                lambda: problem.model(52, precision=p)
            )
            for precision in ("auto", "float32", "float64")
        },
        rounds,
    )
    rows += [
        ratio_row(
            "500 x 20, T=3",
            f"fit of 52, {name} / float32",
            whole[name],
            whole["float32"],
        )
        for name in ("auto", "float64")
    ]
    return rows


def predict(quick: bool) -> list[Row]:
    """Prediction: 200,000 rows, and one."""
    problem = Problem(20_000, 100, 4, 5, (256, 256), 256)
    model = problem.model(1)
    module = problem.module()
    with torch.no_grad():  # the same network, without the framework
        theirs = list(model.module_.sharing.parameters())
        for own, fitted in zip(module[:-1].parameters(), theirs, strict=True):
            own.copy_(fitted.reshape(own.shape))
        heads = model.module_.heads
        module[-1].weight.copy_(heads.weight)
        nothing = heads.weight.new_zeros(1, problem.layers[-1])
        module[-1].bias.copy_(heads(nothing)[0])
    device, lower = RUN["device"], RUN["precision"] == "bf16"
    module.eval().to(device)
    X = np.random.default_rng(1).standard_normal((200_000, 100), dtype=np.float32)

    def plain(chunk: int, X: np.ndarray = X) -> np.ndarray:
        with (
            torch.inference_mode(),
            torch.autocast(device, torch.bfloat16, enabled=lower),
        ):
            parts = [
                module(part.to(device))
                .view(-1, problem.n_tasks, problem.n_classes)
                .argmax(2)
                for part in torch.from_numpy(X).split(chunk)
            ]
            return torch.cat(parts).cpu().numpy()

    chunks = [512, 1024, 2048, 4096, 8192, 16384]
    if device != "cpu":
        chunks = [65536, len(X)]
    tried = turns(
        {str(c): lambda c=c: seconds(lambda: plain(c)) for c in chunks},
        1 if quick else 3,
    )
    best = min(chunks, key=lambda c: statistics.median(tried[str(c)]))
    if (plain(best) != model.predict(X)).mean() > (1e-2 if lower else 1e-4):
        raise AssertionError("skmtl and the plain forward predict different classes.")
    times = turns(
        {
            "skmtl": lambda: seconds(lambda: model.predict(X)),
            "plain": lambda: seconds(lambda: plain(best)),
        },
        3 if quick else 11,
    )
    one = X[:1].copy()
    single = turns(
        {
            "skmtl": lambda: seconds(lambda: model.predict(one)),
            "plain": lambda: seconds(lambda: plain(1, one)),
        },
        500 if quick else 3000,
    )
    name = f"predict 200k x 100 / plain in {best}s"
    return [
        ratio_row("predict, T=4", name, times["skmtl"], times["plain"], 1.15),
        Row(
            "predict, T=4",
            "predict one row",
            show_seconds(single["skmtl"]),
            show_seconds(single["plain"]),
            statistics.median(single["skmtl"]) * 1e3,
            "-".join(
                f"{q * 1e3:.2f}" for q in np.quantile(single["skmtl"], [0.25, 0.75])
            ),
            1.0,
            "ms",
        ),
    ]


def many_tasks(quick: bool) -> list[Row]:
    """512 binary tasks against 8."""
    few, many = (Problem(20_000, 100, t, 2, (256, 256), 256) for t in (8, 512))
    contestants: dict[str, Contestant] = {
        "skmtl 8": few.skmtl,
        "skmtl 512": many.skmtl,
        "plain 8": few.plain,
        "plain 512": many.plain,
    }
    ours, plain, peer = "skmtl 512", "plain 512", "MLPClassifier 512"
    if RUN["device"] == "cpu":
        contestants[peer] = many.sklearn
    times, whole = fits(contestants, (1, 3), 3 if quick else 7)
    case = "20k x 100, binary"
    rows = [
        ratio_row(case, "epoch T=512 / T=8", times[ours], times["skmtl 8"], 3.0),
        ratio_row(case, "the same, plain", times[plain], times["plain 8"]),
        ratio_row(case, "epoch T=512 / plain", times[ours], times[plain]),
        ratio_row(case, "epoch T=8 / plain", times["skmtl 8"], times["plain 8"]),
        ratio_row(case, "fit of 3, T=512 / plain", whole[ours], whole[plain]),
    ]
    if peer in times:
        row = ratio_row(case, "epoch T=512 / MLPClassifier", times[ours], times[peer])
        rows.insert(4, row)
    return rows


def strategies(quick: bool) -> list[Row]:
    """Ways of sharing against each other."""
    rows = []
    for n_tasks, epochs in ((4, (1, 6)), (64, (1, 3))):
        problem = Problem(4_000, 50, n_tasks, 3, (64, 64), 128)
        names = ("hard", "independent", "additive")
        times, _ = fits(
            {s: lambda e, s=s, p=problem: p.model(e, sharing=s) for s in names},
            epochs,
            3 if quick else 7,
        )
        rows += [
            ratio_row(
                f"4k x 50, T={n_tasks}",
                f"epoch {name} / hard",
                times[name],
                times["hard"],
            )
            for name in names[1:]
        ]
    return rows


def imports(quick: bool) -> list[Row]:
    """Import time in fresh interpreters, without the interpreter's start."""

    def child(modules: str) -> float:
        return float(run_child("import", modules))

    times = turns(
        {
            "skmtl": lambda: child("skmtl"),
            "peers": lambda: child("torch,sklearn,skorch"),
        },
        3 if quick else 11,
    )
    name = "import / torch, sklearn, skorch"
    return [ratio_row("import skmtl", name, times["skmtl"], times["peers"], 1.1)]


def memmap(quick: bool) -> list[Row]:
    """Anonymous memory of one epoch on files of 4 GB, each in a fresh interpreter."""
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        free = disk_usage(folder).free
        if free < 2 * MEMMAP_BYTES:
            print(f"memmap left out: {free / 1e9:.1f} GB are free.", file=sys.stderr)
            return rows
        path = Path(folder, "X.f32")
        block = np.random.default_rng(0).standard_normal(10**7, dtype=np.float32)
        with path.open("wb") as file:
            for _ in range(MEMMAP_BYTES // block.nbytes):
                block.tofile(file)
        for n, n_features in MEMMAP_SHAPES[: 1 if quick else None]:
            out = run_child("memmap", str(path), str(n), str(n_features)).split()
            peak, elapsed = map(float, out)
            case = f"memmap {n / 1e6:g}M x {n_features}"
            name = "anonymous memory above start"
            spent = show_seconds([elapsed])
            rows.append(Row(case, name, spent, "", peak, "", 1.0, "GB"))
    return rows


def run_child(*arguments: str) -> str:
    """Run a part of children.py in a fresh interpreter that finds the same skmtl."""
    root = str(Path(skmtl.__file__).parents[1])
    paths = [root, os.environ.get("PYTHONPATH", "")]
    return subprocess.run(
        [sys.executable, Path(__file__).with_name("children.py"), *arguments],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, paths))},
        check=True,
        stdout=subprocess.PIPE,
        text=True,
    ).stdout


def million(quick: bool) -> list[Row]:
    """A million rows on the card."""
    problem = Problem(1_000_000, 100, 4, 5, (256, 256), 4096)
    times, _ = fits(
        {"skmtl": problem.skmtl, "plain": problem.plain}, (1, 3), 2 if quick else 5
    )
    case = "1M x 100, T=4"
    return [ratio_row(case, "epoch / plain", times["skmtl"], times["plain"])]


def task_counts(quick: bool) -> list[Row]:
    """An epoch of 1,024 rows as one batch, a whole fit, and the card's memory."""
    rows, models = [], {}
    for n_tasks in (8, 512, 4096, 20_000):
        problem = Problem(1024, 100, n_tasks, 2, (256, 256), 1024)
        torch.cuda.reset_peak_memory_stats()
        fit = seconds(lambda p=problem: models.update(last=p.model(6)))
        peak = torch.cuda.max_memory_allocated() / 1e9
        epoch = show_seconds([e["dur"] for e in models["last"].history_][1:])
        case = f"1024 x 100, T={n_tasks}"
        measure = f"epoch, memory; fit of 6 in {fit:.1f} s"
        rows.append(Row(case, measure, epoch, "", peak, unit="GB"))
    return rows


CASES = [large, medium, small, predict, many_tasks, strategies, imports]
CUDA_CASES = [large, medium, small, predict, many_tasks, million, task_counts]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="fewer rounds")
    parser.add_argument("--memmap", action="store_true", help="fit on 4 GB files")
    parser.add_argument("--only", nargs="*", metavar="WORD", help="cases by name")
    parser.add_argument("--cpu-time", action="store_true", help="on a busy machine")
    parser.add_argument("--device", default="cpu", help="where networks compute")
    precisions = ["float32", "bf16"]
    parser.add_argument("--precision", choices=precisions, default=precisions[0])
    options = parser.parse_args()
    if options.cpu_time:
        use_cpu_time()
    RUN.update(device=options.device, precision=options.precision)
    cases = CASES if options.device == "cpu" else CUDA_CASES
    cases = [*cases, memmap] if options.memmap else cases
    if options.only:
        cases = [c for c in cases if any(word in c.__name__ for word in options.only)]
    torch.set_num_threads(1)
    rows: list[Row] = []
    with threadpool_limits(1), warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        try:
            for case in cases:
                print(f"{case.__name__} ...", file=sys.stderr, flush=True)
                rows += case(options.quick)
        finally:
            print_report(rows)


if __name__ == "__main__":
    main()
